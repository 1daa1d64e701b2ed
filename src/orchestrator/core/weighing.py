"""What a plan and the engine ask of the world about a task: its call, parameters and files, its result's schema."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from orchestrator.domain.changes import MISSING, differences, shown
from orchestrator.domain.files import FileSeen
from orchestrator.domain.fingerprint import Component, Given, canonical
from orchestrator.domain.tasks import Call, Prior, TaskStatus
from orchestrator.domain.values import ValueRef
from orchestrator.errors import OrchestratorError, TaskError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orchestrator.core.adapters import Adapters
    from orchestrator.core.scope import RecordedValues
    from orchestrator.domain.pipeline import Task


class Weighing:
    """Looks at the present for one execution; remembers what calls mean for as long as it lives."""

    def __init__(self, adapters: Adapters, values: RecordedValues) -> None:
        self._adapters = adapters
        self._values = values
        self._calls: dict[tuple[str, str | None], Call | None] = {}

    def call(self, tool: str, action: str | None) -> Call | None:
        """Return what a call means now; None where there is no such tool: whoever makes the call is told."""
        key = tool, action
        if key not in self._calls:
            try:
                identity = self._adapters.tools.identity(tool, action)
            except TaskError:
                self._calls[key] = None
            else:
                self._calls[key] = Call(identity.version, dict(identity.code))
        return self._calls[key]

    def given_ref(self, parameters: Mapping[str, Any]) -> ValueRef | bytes:
        """Return how the journal tells of rendered parameters: whole if they are small, else by their digest."""
        ref = self._adapters.codec.encode(ordered(dict(parameters))).ref
        return ref if ref.inline else ref.data

    async def given(self, old: Task, new: Task, prior: Prior, scope: Mapping[str, Any]) -> Given:
        """Work out what a task would be given, and in what that differs from what its result was computed of."""
        renderer = self._adapters.renderer
        try:
            if new.condition is not None and not renderer.truth(new.condition, scope):
                return Given(runs=False)
            if prior.status is TaskStatus.SKIPPED:
                return Given()
            parameters = renderer.render(new.parameters, scope)
            changes = self._changes(old, parameters, prior, scope)
        except TaskError as error:
            return Given(fault=error.message)
        return Given(changes=changes)

    def _changes(
        self, old: Task, parameters: Mapping[str, Any], prior: Prior, scope: Mapping[str, Any]
    ) -> tuple[Component, ...]:
        now = self.given_ref(parameters)
        then = prior.parameters
        if then is None:
            # Not recorded: they were as the definition has them.
            recorded = self._rendered(old, scope)
            if self.given_ref(recorded) == now:
                return ()
        elif then == now:
            return ()
        elif isinstance(then, ValueRef):
            recorded = self._adapters.codec.decode(then.data)
            if self.given_ref(recorded) == now:
                return ()  # an older version recorded them with their keys in another order
        elif (recorded := self._as_written(old, then, scope)) is None:
            digest = now if isinstance(now, bytes) else b""
            return (Component("parameters", then.hex()[:8], digest.hex()[:8] or shown(parameters)),)
        found = differences(ordered(recorded), ordered(parameters))
        return tuple(component(change.path, change.old, change.new, "parameters") for change in found)

    def _as_written(self, old: Task, digest: bytes, scope: Mapping[str, Any]) -> Any:
        """Return recorded parameters of which there is only the digest; None if they cannot be made anew.

        They can where nothing but the text has changed: the old text with what is read now gives them.
        """
        try:
            made = self._rendered(old, scope)
        except TaskError:
            return None
        return made if self.given_ref(made) == digest else None

    def _rendered(self, task: Task, scope: Mapping[str, Any]) -> Mapping[str, Any]:
        if task.reads is None:
            return task.parameters
        rendered: Mapping[str, Any] = self._adapters.renderer.render(task.parameters, scope)
        return rendered

    async def look(self, wanted: Mapping[str, FileSeen | None]) -> dict[str, FileSeen]:
        """Return files as they are now, by path; what is known of each saves reading the unchanged ones."""
        if not wanted:
            return {}
        files, project = self._adapters.files, self._adapters.project

        def look() -> dict[str, FileSeen]:
            return {path: files.look(project, path, known) for path, known in wanted.items()}

        return await asyncio.to_thread(look)

    async def hold(self, paths: Sequence[str], execution_id: str) -> None:
        """Keep files that another execution left behind for this one too."""
        await asyncio.to_thread(self._adapters.files.hold, self._adapters.project, paths, execution_id)

    async def schema_fault(self, task: Task, prior: Prior) -> str:
        """Say how a recorded result breaks the task's output schema; empty if it does not."""
        if task.output_schema is None or prior.status is TaskStatus.SKIPPED:
            return ""
        try:
            value = await self._values.load(prior.value)
        except OrchestratorError as error:
            return str(error)
        return self._adapters.schemas.check(task.output_schema, value) or ""


def ordered(parameters: Any) -> Any:
    """Return parameters in canonical order; as they are where they are too deep for that."""
    try:
        return canonical(parameters)
    except RecursionError:
        return parameters


def component(path: str, old: Any, new: Any, root: str) -> Component:
    """Tell a changed part as a component of a fingerprint."""
    name = root + (path if path.startswith("[") or not path else f".{path}")
    return Component(name, "none" if old is MISSING else shown(old), "none" if new is MISSING else shown(new))


def seen_by(priors: Iterable[Prior | None]) -> dict[str, FileSeen | None]:
    """Return every file that results were computed of, or left behind, as it was seen last."""
    found: dict[str, FileSeen | None] = {}
    for prior in priors:
        if prior is not None and prior.trace is not None:
            for seen in (*prior.trace.reads, *prior.trace.writes):
                found[seen.path] = seen
    return found
