"""The command line: `orchestrator`, or `orc` for short. The one sync door for people."""

from __future__ import annotations

from orchestrator.cli.app import main

__all__ = ["main"]
