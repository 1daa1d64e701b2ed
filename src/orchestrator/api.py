"""The public verbs: compile, run, and the pipeline as a thing that can run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypedDict

from orchestrator.core.ending import Result
from orchestrator.domain.pipeline import Input, Task
from orchestrator.domain.pipeline import Pipeline as Definition
from orchestrator.errors import UsageError
from orchestrator.orchestrator import Orchestrator

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from orchestrator.compiler.library import Library
    from orchestrator.core.engine import Engine
    from orchestrator.domain.ids import TaskId
    from orchestrator.domain.limits import Limit
    from orchestrator.domain.schedule import Schedule
    from orchestrator.domain.strategy import ResumeStrategy
    from orchestrator.ports.tools import Tools


class Pipeline:
    """A compiled pipeline that can run.

    Built from steps in Python here, from YAML by ``compile`` or ``from_yaml``; both go through the same checks and
    raise DefinitionError with every mistake. ``execution_id`` is that of its last run in this process, None before;
    ``source`` is the file it was compiled from, if it was.

    >>> hello = Pipeline(id="hello", tasks=[Task("greet", "shell", parameters={"command": ["echo", "hi"]})])
    >>> list(hello.tasks)
    ['greet']
    """

    def __init__(  # noqa: PLR0913 - the keywords are the pipeline's parts
        self,
        *,
        id: str,  # noqa: A002 - the language's own word
        tasks: Iterable[Task],
        name: str | None = None,
        version: str | None = None,
        description: str | None = None,
        inputs: Mapping[str, Input] | Iterable[Input] = (),
        outputs: Mapping[str, Any] | None = None,
        resume: ResumeStrategy | None = None,
        resume_enabled: bool = True,
        timeout: float | None = None,
        max_concurrency: int | None = None,
        limits: Mapping[str, Limit] | None = None,
        schedule: Schedule | None = None,
        on_failure: Iterable[Task] = (),
        finally_: Iterable[Task] = (),
        tools: Tools | None = None,
    ) -> None:
        from orchestrator.compiler.build import build

        self._take(
            build(
                id=id,
                tasks=tasks,
                name=name,
                version=version,
                description=description,
                inputs=inputs,
                outputs=outputs,
                resume=resume,
                resume_enabled=resume_enabled,
                timeout=timeout,
                max_concurrency=max_concurrency,
                limits=limits,
                schedule=schedule,
                on_failure=on_failure,
                finally_=finally_,
                **_means(tools),
            )
        )

    def _take(self, definition: Definition) -> None:
        self._definition = definition
        self.execution_id: str | None = None
        self.source: Path | None = None

    @classmethod
    def of(cls, definition: Definition, source: Path | None = None) -> Self:
        """Return a handle for a compiled definition, and the file it came from."""
        handle = cls.__new__(cls)
        handle._take(definition)  # noqa: SLF001 - its own class
        handle.source = source
        return handle

    # -- what it is ----------------------------------------------------------------------------------------------

    @property
    def definition(self) -> Definition:
        """The compiled definition itself: frozen, checked."""
        return self._definition

    @property
    def id(self) -> str:
        """The pipeline's id."""
        return self.definition.id

    @property
    def tasks(self) -> Mapping[TaskId, Task]:
        """The tasks by id, in the order they were written."""
        return self.definition.tasks

    @property
    def inputs(self) -> Mapping[str, Input]:
        """The declared inputs by name."""
        return self.definition.inputs

    def __eq__(self, other: object) -> bool:
        """Two pipelines are equal when their definitions are."""
        return isinstance(other, Pipeline) and other.definition == self.definition

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Show the id and the number of tasks."""
        return f"<Pipeline {self.id}: {len(self.tasks)} tasks>"

    # -- other forms ---------------------------------------------------------------------------------------------

    @classmethod
    def from_yaml(cls, text: str, *, file: str = "<text>", tools: Tools | None = None) -> Self:
        """Compile YAML text; ``file`` is what messages call it."""
        from orchestrator.compiler.compile import compile_text

        return cls.of(compile_text(text, file=file, **_means(tools)))

    @classmethod
    def from_dict(cls, document: Mapping[str, Any], *, tools: Tools | None = None) -> Self:
        """Compile a document in the language's own words."""
        from orchestrator.compiler.compile import compile_dict

        return cls.of(compile_dict(document, **_means(tools)))

    def to_dict(self) -> dict[str, Any]:
        """Return the document in the language's own words; ``from_dict`` gives an equal pipeline back."""
        from orchestrator.compiler.dump import to_dict

        return to_dict(self.definition)

    def to_yaml(self) -> str:
        """Return the document as YAML; ``from_yaml`` gives an equal pipeline back."""
        from orchestrator.compiler.dump import to_yaml

        return to_yaml(self.definition)

    # -- running -------------------------------------------------------------------------------------------------

    async def run(
        self, *, execution_id: str | None = None, orchestrator: Orchestrator | None = None, **inputs: Any
    ) -> Result:
        """Run to the end and return how it ended; the keywords are the pipeline's inputs.

        What waits is waited for (``Orchestrator.run_pipeline(..., wait=False)`` does not).

        ``execution_id`` chooses the id. ``orchestrator`` None means one for the default store, closed at the end.
        Raises what ``Orchestrator.run_pipeline`` raises; its errors carry the ``execution_id``.
        """
        own = orchestrator is None
        runner = orchestrator or Orchestrator()
        self.execution_id = runner.new_execution_id() if execution_id is None else execution_id
        try:
            return await runner.run_pipeline(self, inputs, execution_id=self.execution_id)
        finally:
            if own:
                await runner.close()

    def run_sync(self, *, execution_id: str | None = None, **inputs: Any) -> Result:
        """Run to the end from code without an event loop; Ctrl-C and SIGTERM stop gracefully.

        Raises UsageError inside a running event loop (``await pipeline.run(...)`` there).
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise UsageError("run_sync was called inside a running event loop; use `await pipeline.run(...)` there")
        return asyncio.run(self._run_with_signals(execution_id, inputs))

    async def _run_with_signals(self, execution_id: str | None, inputs: Mapping[str, Any]) -> Result:
        async with Orchestrator() as runner:
            self.execution_id = runner.new_execution_id() if execution_id is None else execution_id
            with runner.signals():
                return await runner.run_pipeline(
                    self, inputs, execution_id=self.execution_id, admitted=_stopper(runner)
                )


def _stopper(runner: Orchestrator) -> Callable[[Engine], None]:
    def admitted(engine: Engine) -> None:
        if runner.stop_asked is not None:
            engine.stop(runner.stop_asked)

    return admitted


def compile(path: str | Path, *, tools: Tools | None = None) -> Pipeline:  # noqa: A001 - the spec's word
    """Compile a pipeline file and return it, ready to run; needs no model, prints nothing.

    Works alike inside and outside a running event loop. ``path`` may also name a pipeline in Python, as
    ``package.module:name`` or ``file.py:name``. Raises DefinitionError with every mistake of the file, each
    as ``file:line:column  path: what``.

    >>> compile("nowhere.yaml")
    Traceback (most recent call last):
    orchestrator.errors.DefinitionError: nowhere.yaml  there is no such file
    """
    if "\n" in str(path):
        raise UsageError("compile takes the path of a pipeline file; for YAML text use Pipeline.from_yaml(text)")
    from orchestrator.compiler.places import compile_at

    return Pipeline.of(compile_at(Path(path), **_means(tools)), Path(path))


class _Means(TypedDict):
    """What a definition is checked with."""

    tools: Tools
    library: Library


def _means(tools: Tools | None) -> _Means:
    orchestrator = Orchestrator(tools=tools)
    return {"tools": orchestrator.tools, "library": orchestrator.library}
