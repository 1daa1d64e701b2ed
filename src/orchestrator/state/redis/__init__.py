"""A store in Redis or Valkey, shared by many hosts: every change is one script on the server."""

from __future__ import annotations

from orchestrator.state.redis.store import RedisStore

__all__ = ["RedisStore"]
