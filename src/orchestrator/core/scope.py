"""What a template may see: inputs, results of earlier steps, facts of the execution - always as recorded."""

from __future__ import annotations

from collections import OrderedDict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.tasks import TaskState
    from orchestrator.domain.values import ValueRef
    from orchestrator.ports.codec import Codec
    from orchestrator.ports.store import Values

CACHE_BYTES = 64 * 1024 * 1024


class Pending(Protocol):
    """Knows values that are on their way into the store."""

    def pending_value(self, ref: ValueRef) -> bytes | None:
        """Return the encoded value, or None if it is not one of them."""


class RecordedValues:
    """Reads recorded values: each read decodes anew, so that no reader can change what another reads."""

    def __init__(self, values: Values, codec: Codec, pending: Pending | None = None) -> None:
        self._values = values
        self._codec = codec
        self._pending = pending
        self._cache: OrderedDict[bytes, bytes] = OrderedDict()
        self._cached = 0

    async def load(self, ref: ValueRef | None) -> Any:
        """Return the value; None for None."""
        if ref is None:
            return None
        if ref.inline:
            return self._codec.decode(ref.data)
        payload = self._cache.get(ref.data)
        if payload is None:
            payload = self._pending.pending_value(ref) if self._pending is not None else None
            if payload is None:
                payload = await self._values.get(ref)
            self._remember(ref, payload)
        else:
            self._cache.move_to_end(ref.data)
        return self._codec.decode(payload)

    def _remember(self, ref: ValueRef, payload: bytes) -> None:
        if len(payload) > CACHE_BYTES // 4:
            return
        self._cache[ref.data] = payload
        self._cached += len(payload)
        while self._cached > CACHE_BYTES:
            self._cached -= len(self._cache.popitem(last=False)[1])


class Scope:
    """Builds the scopes of one execution's templates.

    ``find`` returns what is known of a task; ``facts`` are the execution's ``id``, ``is_resume`` and ``context``.
    """

    def __init__(
        self,
        values: RecordedValues,
        inputs: Mapping[str, Any],
        facts: Callable[[], dict[str, Any]],
        find: Callable[[TaskId], TaskState],
    ) -> None:
        self._values = values
        self.inputs = MappingProxyType(dict(inputs))
        self._facts = facts
        self._find = find

    async def build(self, reads: Sequence[TaskId], attempt: int) -> dict[str, Any]:
        """Return the scope with the results of ``reads`` (see ports.renderer)."""
        steps: dict[str, Any] = {}
        for name in reads:
            task = self._find(name)
            steps[name] = {"result": await self._values.load(task.value), "status": task.status.value}
        return {
            **steps,
            "steps": steps,
            "inputs": self.inputs,
            "parameters": self.inputs,
            "attempt": attempt,
            "execution": self._facts(),
        }
