"""What a template may see: inputs, results of earlier steps, facts of the execution - always as recorded."""

from __future__ import annotations

from collections import OrderedDict
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from orchestrator.core.recorder import Recorder
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.values import ValueRef
    from orchestrator.ports.codec import Codec
    from orchestrator.ports.store import Values

CACHE_BYTES = 64 * 1024 * 1024


class RecordedValues:
    """Reads recorded values: each read decodes anew, so that no reader can change what another reads."""

    def __init__(self, values: Values, codec: Codec, recorder: Recorder | None = None) -> None:
        self._values = values
        self._codec = codec
        self._recorder = recorder
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
            payload = self._recorder.pending_value(ref) if self._recorder is not None else None
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
    """Builds the scopes of one execution's templates."""

    def __init__(self, recorder: Recorder, values: RecordedValues, inputs: Mapping[str, Any], context: Any) -> None:
        self._recorder = recorder
        self._values = values
        self.inputs = MappingProxyType(dict(inputs))
        self._context = context

    async def build(self, reads: Sequence[TaskId], attempt: int) -> dict[str, Any]:
        """Return the scope with the results of ``reads`` (see ports.renderer)."""
        state = self._recorder.state
        steps: dict[str, Any] = {}
        for name in reads:
            task = state.tasks[name]
            steps[name] = {"result": await self._values.load(task.value), "status": task.status.value}
        return {
            **steps,
            "steps": steps,
            "inputs": self.inputs,
            "parameters": self.inputs,
            "attempt": attempt,
            "execution": {
                "id": self._recorder.lease.execution_id,
                "is_resume": state.resumed,
                "context": self._context,
            },
        }
