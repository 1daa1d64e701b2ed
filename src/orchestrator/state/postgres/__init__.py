"""Many processes, one truth: a store in PostgreSQL."""

from __future__ import annotations

from orchestrator.state.postgres.store import PostgresStore
from orchestrator.state.postgres.target import FORM, Target, parse_target

__all__ = ["FORM", "PostgresStore", "Target", "parse_target"]
