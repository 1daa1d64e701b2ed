"""Benchmarks: `make bench` measures and writes docs/benchmarks.md. Never part of the tests."""
