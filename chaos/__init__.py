"""Breaks running executions on purpose and checks that nothing recorded is lost or repeated.

``python -m chaos --help`` tells the commands; ``tests/crash`` runs short forms of the same trials.
"""
