"""`@pipeline`: a function that calls tasks becomes a pipeline, with the same journal and resume as any other."""

from __future__ import annotations

import inspect
import re
import threading
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypedDict, TypeVar, Unpack, cast, overload

from orchestrator.api import Pipeline
from orchestrator.compiler.build import build
from orchestrator.domain.ids import TaskId
from orchestrator.domain.pipeline import Input, Task
from orchestrator.domain.pipeline import Pipeline as Definition
from orchestrator.domain.words import did_you_mean
from orchestrator.errors import UsageError
from orchestrator.functions.body import Body, current
from orchestrator.functions.calls import Calls, here, shown
from orchestrator.functions.handles import Handle
from orchestrator.functions.naming import address_of, place_of
from orchestrator.functions.task import Step, StepOptions
from orchestrator.orchestrator import Orchestrator

if TYPE_CHECKING:
    from orchestrator.domain.limits import Limit
    from orchestrator.domain.schedule import Schedule
    from orchestrator.domain.strategy import ResumeStrategy
    from orchestrator.ports.tools import Tools

P = ParamSpec("P")
R = TypeVar("R")

_TYPES: Mapping[Any, str] = {
    str: "string", int: "integer", float: "number", bool: "boolean", list: "list", dict: "object",
}  # fmt: skip


_drawing = threading.RLock()
"""Held while a function draws: one at a time, for whoever needs the definition first."""


class PipelineOptions(TypedDict, total=False):
    """What a pipeline is called and how it is resumed, in the words of Pipeline; ``id`` None: the function's name."""

    id: str | None
    name: str | None
    version: str | None
    description: str | None
    resume: ResumeStrategy | None
    resume_enabled: bool
    schedule: Schedule | None
    timeout: float | None
    max_concurrency: int | None
    limits: Mapping[str, Limit] | None
    tools: Tools | None


class PipelineFunction(Pipeline, Generic[P, R]):
    """A pipeline that a function draws; all that Pipeline has, it has.

    The function runs once, when the definition is first needed, with handles for its inputs. Its parameters are the
    inputs, with their types and defaults; what it returns are the outputs: a mapping by name, anything else as
    ``result``. Called in another pipeline function it becomes a step of that, which runs it as an execution of its own.
    """

    def __init__(self, function: Callable[P, R], options: Mapping[str, Any]) -> None:
        self.function = function
        self._options = dict(options)
        self._is_being_drawn = False
        self.execution_id = None
        self.source = _source(function)
        update_wrapper(self, function)

    @property
    def definition(self) -> Definition:
        """The definition; the first time, the function draws it. Raises UsageError, and DefinitionError."""
        with _drawing:
            if "_definition" not in self.__dict__:
                name = self.function.__name__
                if self._is_being_drawn:
                    raise UsageError(f"{here()}pipeline {name!r} calls itself: the graph would have no end")
                self._is_being_drawn = True
                try:
                    self._definition = self._draw(self._options.get("id") or name)
                finally:
                    self._is_being_drawn = False
            return self._definition

    def __repr__(self) -> str:
        """Show the function; draws nothing."""
        return f"<PipelineFunction {self.function.__module__}:{self.function.__qualname__}>"

    __hash__ = None

    def __eq__(self, other: object) -> bool:
        """Two pipelines are equal when their definitions are."""
        return self is other or super().__eq__(other)

    # -- drawing -------------------------------------------------------------------------------------------------

    def _draw(self, name: str) -> Definition:
        function = self.function
        if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
            raise UsageError(
                f"{place_of(function)}{function.__name__}: a pipeline function is a plain def that calls tasks; "
                "tasks may be async"
            )
        inputs = _inputs_of(function)
        code = inspect.unwrap(function).__code__
        body = Body(name, Calls(shown(code.co_filename), code.co_firstlineno))
        given = {name: Handle(f"inputs.{name}", (), body) for name in inputs}
        with body.drawing():
            returned = function(**given)  # type: ignore[arg-type, call-arg]
        options = {key: value for key, value in self._options.items() if key != "id" and value is not None}
        orchestrator = Orchestrator(tools=options.pop("tools", None))
        return build(
            id=name,
            tasks=body.tasks.values(),
            inputs=inputs,
            outputs=_outputs(body, returned),
            tools=orchestrator.tools,
            library=orchestrator.library,
            where=body.calls,
            **options,
        )

    # -- as a step of another ------------------------------------------------------------------------------------

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Add a step that runs this pipeline to the one that is being drawn."""
        return self.step(*args, **kwargs)

    @property
    def step(self) -> SubPipeline[P, R]:
        """This pipeline as a step, to be given a name or options: ``nightly.step.named("jfk")(...)``."""
        address = address_of(self.function)
        single = set(self.definition.outputs) == {"result"}
        return SubPipeline(self.function, {}, address, single=single)


class SubPipeline(Step[P, R]):
    """A step that runs a pipeline as an execution of its own."""

    def __init__(
        self, function: Callable[..., Any], options: Mapping[str, Any], place: str, *, single: bool = False
    ) -> None:
        super().__init__(function, options)
        self._place = place
        self._single = single

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Add the step."""
        if current() is None:
            raise UsageError(
                f"{here()}{self._label} is a pipeline: outside of a pipeline function it is run, "
                f"{self._label}.run_sync(...) or await {self._label}.run(...)"
            )
        handle: Any = super().__call__(*args, **kwargs)
        return cast("R", handle["result"] if self._single else handle)

    def _call(self, given: Mapping[str, Any]) -> Task:
        inputs = {"inputs": given} if given else {}
        return Task(TaskId("step"), "pipeline", parameters={"pipeline": self._place, **inputs})


def subpipeline(place: str, inputs: Mapping[str, Any] | None = None, **options: Unpack[StepOptions]) -> Any:
    """Add a step that runs the pipeline at ``FILE`` or ``MODULE:NAME``, and return what stands for its outputs.

    For use in a pipeline function. The step is named after the file or the name unless ``name`` says otherwise.
    A pipeline that is a Python function is simply called.
    """
    body = current()
    if body is None:
        raise UsageError(f"{here()}subpipeline is called in a pipeline function, where it adds a step")
    named = re.split(r"[/\\:]", place)[-1].removesuffix(".yaml").removesuffix(".yml")

    def run(**given: Any) -> Any: ...

    run.__name__ = re.sub(r"[^A-Za-z0-9_-]+", "_", named).lstrip("-") or "subpipeline"
    step: SubPipeline[..., Any] = SubPipeline(run, options, place)
    return step(**dict(inputs or {}))


@overload
def pipeline(function: Callable[P, R], /) -> PipelineFunction[P, R]: ...
@overload
def pipeline(**options: Unpack[PipelineOptions]) -> Callable[[Callable[P, R]], PipelineFunction[P, R]]: ...
def pipeline(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function that calls tasks a Pipeline, drawn by running the function once with handles for its inputs.

    That happens when its definition is first needed. Its parameters are the inputs, with their types and defaults; what
    it returns are the outputs: a mapping by name, anything else as ``result``. Called in another pipeline function it
    becomes a step of that, which runs it as an execution of its own; ``.step`` is that step, to be given a name.

    ``options`` are the pipeline's own: ``id`` (None: the function's name), ``name``, ``version``, ``description``,
    ``resume``, ``resume_enabled``, ``schedule``, and the ``tools`` that it is checked against. Raises UsageError for an
    option that there is not; mistakes in the graph are told when it is drawn, all at once, each with its line.
    """
    known = PipelineOptions.__annotations__
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
            raise UsageError(f"{here()}a pipeline has no option {name!r} ({hint})")
    if function is not None:
        return PipelineFunction(function, options)
    return lambda function: PipelineFunction(function, options)


# -- inputs and outputs ------------------------------------------------------------------------------------------


def _inputs_of(function: Callable[..., Any]) -> dict[str, Input]:
    """Return the inputs that a function's parameters declare."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception:  # noqa: BLE001 - an annotation is code: it may raise anything
        hints = {}
    found: dict[str, Input] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise UsageError(
                f"{place_of(function)}{function.__name__}: the parameters of a pipeline function are its inputs, "
                f"each with a name; {name!r} cannot be given by name"
            )
        kind, description = _type_of(hints.get(name, Any))
        if parameter.default is parameter.empty:
            found[name] = Input(name, kind, required=True, description=description)
        else:
            found[name] = Input(name, kind, default=parameter.default, description=description)
    return found


def _type_of(annotation: Any) -> tuple[str, str | None]:
    """Return the type of an input, and its description from ``Annotated[int, "how many"]``."""
    description = None
    if typing.get_origin(annotation) is typing.Annotated:
        annotation, *extras = typing.get_args(annotation)
        description = next((extra for extra in extras if isinstance(extra, str)), None)
    parts = [part for part in typing.get_args(annotation) if part is not type(None)]
    if len(parts) == 1 and type(None) in typing.get_args(annotation):
        annotation = parts[0]  # X | None: None is what an input that need not be given is
    kind = typing.get_origin(annotation) or annotation
    if isinstance(kind, type) and kind not in _TYPES:
        if issubclass(kind, Mapping):
            kind = dict
        elif issubclass(kind, Sequence) and not issubclass(kind, (str, bytes, tuple)):
            kind = list
    return _TYPES.get(kind, "any"), description


def _outputs(body: Body, returned: Any) -> dict[str, Any]:
    if returned is None:
        return {}
    if isinstance(returned, Mapping):
        return {str(name): body.plain(value, f"output {name!r}") for name, value in returned.items()}
    return {"result": body.plain(returned, "what the pipeline returns")}


def _source(function: Callable[..., Any]) -> Path | None:
    """Return the place of a function, as ``FILE.py:NAME``; None if it has none that others could name."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    name = getattr(function, "__qualname__", "<")
    if code is None or "<" in name or not code.co_filename.endswith(".py"):
        return None
    return Path(f"{code.co_filename}:{name}")
