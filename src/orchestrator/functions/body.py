"""A pipeline function while it runs: the steps that were called so far."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from orchestrator.domain.ids import TaskId
from orchestrator.errors import UsageError
from orchestrator.functions.calls import Calls, call_site, here
from orchestrator.functions.handles import Handle, owner_of, result_of, steps_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.domain.pipeline import Task

_current: ContextVar[Body | None] = ContextVar("orchestrator_pipeline_function", default=None)


class Body:
    """Gathers the tasks of one pipeline."""

    def __init__(self, pipeline: str, calls: Calls) -> None:
        self.pipeline = pipeline
        self.calls = calls
        self.tasks: dict[str, Task] = {}

    def add(self, task: Task, function: str) -> Handle:
        """Take a step that was called, and return what stands for its result.

        Raise UsageError if a step of that name was called before.
        """
        name = str(task.id)
        if name in self.tasks:
            first = f"{self.calls.file}:{self.calls.line_of(name)}"
            raise UsageError(
                f"{here()}pipeline {self.pipeline!r} has a step {name!r} already (called at {first}); a step's name "
                f"must outlive edits, so give this one its own: {function}.named({f'{name}_again'!r})(...)"
            )
        self.tasks[name] = task
        self.calls.note(name, *call_site())
        return result_of(name, self)

    def plain(self, value: Any, what: str) -> Any:
        """Return a value with every handle in it replaced by its template; ``what`` names it in messages."""
        if isinstance(value, Handle):
            self._check(value, what)
            return str(value)
        if isinstance(value, Mapping):
            return {key: self.plain(item, what) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.plain(item, what) for item in value]
        return value

    def steps(self, values: tuple[Any, ...]) -> tuple[TaskId, ...]:
        """Return the steps whose results the handles stand for; raise UsageError for what is no such handle."""
        found: dict[TaskId, None] = {}
        for value in values:
            if not isinstance(value, Handle) or not steps_of(value):
                raise UsageError(f"{here()}after takes what calls of steps returned, not {type(value).__name__}")
            self._check(value, "after")
            found.update(dict.fromkeys(map(TaskId, steps_of(value))))
        return tuple(found)

    def _check(self, handle: Handle, what: str) -> None:
        owner = owner_of(handle)
        if isinstance(owner, Body) and owner is not self:
            raise UsageError(
                f"{here()}{what}: {handle} belongs to pipeline {owner.pipeline!r}, not to {self.pipeline!r}; "
                "a value goes from one pipeline into another as an input, and back as an output"
            )

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Within: calls of tasks are steps of this pipeline."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)


def current() -> Body | None:
    """Return the pipeline that is being drawn, or None."""
    return _current.get()
