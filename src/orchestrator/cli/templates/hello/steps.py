"""The functions that pipeline.yaml calls as `steps:NAME`."""

from __future__ import annotations


def greeting(who: str) -> dict[str, object]:
    """Return a greeting; what a function returns is kept, and later steps read it."""
    text = f"hello, {who}"
    return {"text": text, "letters": len(text)}
