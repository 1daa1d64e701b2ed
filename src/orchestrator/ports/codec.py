"""How values become bytes and come back the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.domain.values import EncodedValue


class Codec(Protocol):
    """Turns values of a closed list of types into bytes and back, same value and same type."""

    def encode(self, value: Any) -> EncodedValue:
        """Return the encoded value; raises UnstorableValue naming the path inside it that cannot be kept."""

    def decode(self, payload: bytes) -> Any:
        """Return the value again, a fresh one at each call; raises StoreDamaged for bytes we did not write."""

    def encode_pipeline(self, pipeline: Pipeline) -> EncodedValue:
        """Return the encoded definition; its digest is the pipeline's content hash."""

    def decode_pipeline(self, payload: bytes) -> Pipeline:
        """Return the definition again; raises StoreDamaged, StoreIncompatible."""
