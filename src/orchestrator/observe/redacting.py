"""Log lines without values of secrets, wherever they go."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING
from weakref import WeakSet

if TYPE_CHECKING:
    from orchestrator.domain.redaction import Redactor

_OURS = "orchestrator"
_redactors: WeakSet[Redactor] = WeakSet()
_FORMATTER = logging.Formatter()


class Redacting(logging.Filter):
    """Replaces values of secrets in a record, its traceback included, before any handler sees it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record pass, cleaned."""
        known = [redactor for redactor in list(_redactors) if redactor.active]
        if known:
            _clean(record, known)
        return True


REDACTING = Redacting()
"""The one filter; it does nothing while no secret is known."""


def watch(redactor: Redactor) -> None:
    """Keep what this redactor knows out of all lines of our loggers, as long as it lives."""
    _redactors.add(redactor)
    for name in [_OURS, *logging.root.manager.loggerDict]:
        if name == _OURS or name.startswith(f"{_OURS}."):
            logging.getLogger(name).addFilter(REDACTING)  # once: a filter is not added twice


def _clean(record: logging.LogRecord, redactors: list[Redactor]) -> None:
    try:
        message = record.getMessage()
    except Exception:  # noqa: BLE001 - the handler says what is wrong with the call
        message = f"{record.msg}"
        record.args = tuple(f"{item}" for item in record.args or ()) if isinstance(record.args, tuple) else record.args
    trace = record.exc_text or (_FORMATTER.formatException(record.exc_info) if record.exc_info else "")
    clean, clean_trace = message, trace
    for redactor in redactors:
        clean, clean_trace = redactor.text(clean), redactor.text(clean_trace)
    if clean != message:
        record.msg, record.args = clean, None
    if clean_trace != trace:
        record.exc_info, record.exc_text = None, clean_trace
