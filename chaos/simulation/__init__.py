"""Deterministic simulation: the real engine, recorder, leases and stores on a manual clock, led by one seed.

``world`` chooses what happens next, ``loop`` is a simulated process's event loop, ``store`` and ``executor`` are the
ports through which it is disturbed, ``scenario`` draws pipelines and dangers from the seed, and ``judge`` holds every
fact and every effect against the invariants of docs/guarantees.md.
"""
