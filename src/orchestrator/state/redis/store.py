"""The Redis store: a hash and a list per execution, values by digest, all under one hash tag."""

from __future__ import annotations

from orchestrator.state.redis.cache import RedisCache
from orchestrator.state.redis.mail import RedisMail
from orchestrator.state.redis.maintenance import RedisMaintenance
from orchestrator.state.redis.queues import RedisQueues
from orchestrator.state.redis.reading import RedisReading


class RedisStore(RedisMaintenance, RedisQueues, RedisMail, RedisReading, RedisCache):
    """The store at ``address``; ``lease_seconds`` is how long an owner that went silent keeps an execution.

    Its methods run on any event loop, one after another or several at once; ``renew``, ``requests`` and ``tend`` on
    any thread. Opening it talks to the server and raises what the server does not allow.
    """
