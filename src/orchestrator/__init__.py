"""Pipelines whose runs survive anything."""
