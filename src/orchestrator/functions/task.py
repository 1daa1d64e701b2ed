"""`@task`: a function becomes what a pipeline function can call as a step."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import fields, replace
from functools import cached_property, update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Self, TypedDict, TypeVar, Unpack, cast, overload

from orchestrator.compiler.steps import contained
from orchestrator.domain.control import ForEach, Loop
from orchestrator.domain.ids import TaskId
from orchestrator.domain.pipeline import (
    CachePolicy,
    CheckpointWhen,
    DeclaredFiles,
    Isolation,
    OnChange,
    OnInterrupted,
    RetryPolicy,
    Task,
)
from orchestrator.domain.words import did_you_mean
from orchestrator.errors import UsageError
from orchestrator.functions.body import Body, current
from orchestrator.functions.calls import here
from orchestrator.functions.naming import address_of

if TYPE_CHECKING:
    from collections.abc import Iterable

P = ParamSpec("P")
R = TypeVar("R")


class StepOptions(TypedDict, total=False):
    """How a step runs, in the words of Task.

    ``name`` is the step's name, by which results are found again (None: the function's). ``retry`` may be a number of
    attempts. ``timeout`` and ``idle_timeout`` are in seconds. ``limits`` names limits of the pipeline.
    """

    name: str | None
    description: str | None
    retry: RetryPolicy | int
    timeout: float | None
    idle_timeout: float | None
    critical: bool
    checkpoint: CheckpointWhen | str
    on_interrupted: OnInterrupted | str
    isolation: Isolation | str
    files: DeclaredFiles
    output_schema: Mapping[str, Any] | None
    on_change: OnChange | str | None
    migrate: str | None
    renamed_from: str | None
    cache: CachePolicy | None
    limits: tuple[str, ...]


class Step(Generic[P, R]):
    """A function as a step. Called in a pipeline function it adds a step, and returns what stands for its result.

    Called anywhere else it is the plain function; ``function`` is that, with its own types. A step is frozen:
    ``named``, ``after``, ``when``, ``for_each``, ``repeat`` and ``options`` return another one.
    """

    def __init__(self, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
        update_wrapper(self, function)
        self.function = function
        self._options = _checked(options)
        self._after: tuple[Any, ...] = ()
        self._condition: Any = None
        self._control: ForEach | Loop | None = None

    # -- another one like it -------------------------------------------------------------------------------------

    def named(self, name: str) -> Self:
        """Return this step under another name, as the second call of a task in one pipeline needs it."""
        return self.options(name=name)

    def options(self, **options: Unpack[StepOptions]) -> Self:
        """Return this step with other options."""
        return self._like(_options={**self._options, **_checked(options)})

    def after(self, *results: Any) -> Self:
        """Return this step, to begin only after these, whose results it does not read."""
        return self._like(_after=(*self._after, *results))

    def when(self, condition: Any) -> Self:
        """Return this step, to be skipped unless the condition is true: a handle, an ``expression``, or text."""
        return self._like(_condition=condition)

    def for_each(
        self, items: Any, *, key: Any = None, max_parallel: int | None = None, tolerate: float | None = 0
    ) -> Step[P, Any]:
        """Return this step, to be done once for each item; in its call, ``orc.item`` stands for the item.

        ``items`` is a handle, a list, a mapping or a number. ``key`` is an expression over the item that names it from
        edit to edit, ``max_parallel`` how many are at work at once, ``tolerate`` how many may fail: a number, a part of
        all (0.05), or None for any.
        """
        return self._like(_control=ForEach(items, key, max_parallel, tolerate))

    def repeat(self, *, until: Any = None, while_: Any = None, max_iterations: int = 1000) -> Step[P, Any]:
        """Return this step, to be done again and again; ``orc.last`` stands for the result of the round before.

        It goes on as long as ``while_`` is true before a round, until ``until`` is true after one; more rounds than
        ``max_iterations`` fail it.
        """
        return self._like(_control=Loop(while_, until, max_iterations))

    def _like(self, **changes: Any) -> Self:
        made = object.__new__(type(self))
        made.__dict__.update(self.__dict__ | changes)
        return made

    # -- the call ------------------------------------------------------------------------------------------------

    @property
    def __orchestrator_step__(self) -> Callable[..., Any]:
        """The function that a run calls (see ``tools.python``)."""
        return self.function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Add a step to the pipeline that is being drawn; without one, call the function."""
        body = current()
        if body is None:
            return cast("R", self.function(*args, **kwargs))
        return cast("R", body.add(self._task(body, args, kwargs), self._label))

    def _task(self, body: Body, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Task:
        name = self._options.get("name") or self._default_name
        given = body.plain(self._bound(args, kwargs), f"step {name!r}")
        settings = {key: value for key, value in self._options.items() if key != "name"}
        if isinstance(settings.get("retry"), int):
            settings["retry"] = RetryPolicy(max_attempts=settings["retry"])
        condition = self._condition
        if isinstance(condition, bool):
            condition = "true" if condition else "false"
        task = replace(
            self._call(given),
            id=TaskId(name),
            dependencies=body.steps(self._after),
            condition=body.plain(condition, f"the condition of step {name!r}"),
            **settings,
        )
        if self._control is None:
            return task
        values = {each.name: getattr(self._control, each.name) for each in fields(self._control)}
        return contained(task, replace(self._control, **body.plain(values, f"step {name!r}")))

    def _call(self, given: Mapping[str, Any]) -> Task:
        """Return a bare task that calls the function with these parameters."""
        return Task(TaskId("step"), "python", address_of(self.function), given)

    def _bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments by the names of their parameters; raise UsageError as Python would raise TypeError."""
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError as error:
            raise UsageError(f"{here()}{self._label}{self._signature}: {error}") from None
        found: dict[str, Any] = {}
        for name, value in bound.arguments.items():
            kind = self._signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_KEYWORD:
                found |= value
            elif kind is inspect.Parameter.VAR_POSITIONAL:
                raise UsageError(f"{here()}{self._label}: a step's parameters have names; *{name} has none")
            else:
                found[name] = value
        return found

    @cached_property
    def _signature(self) -> inspect.Signature:
        """The function's parameters without the context, which the run gives."""
        from orchestrator.tools.signature import Signature

        label = f"function {self._label!r}"
        context = Signature(self.function, label).context_parameter
        found = inspect.signature(self.function)
        return found.replace(parameters=[each for each in found.parameters.values() if each.name != context])

    @property
    def _default_name(self) -> str:
        return self._label

    @property
    def _label(self) -> str:
        return getattr(self.function, "__name__", None) or type(self.function).__name__

    def __repr__(self) -> str:
        """Show the function."""
        return f"<{type(self).__name__} {self._label}>"


@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> Step[P, R]: ...
@overload
def task(function: Callable[P, R], /) -> Step[P, R]: ...
@overload
def task(**options: Unpack[StepOptions]) -> _Decorator: ...
def task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a task: in a `@pipeline` function a call of it is a step, anywhere else just a call.

    The step runs ``package.module:function`` with the tool `python`, in whatever process; so the function must be found
    under its name there. Its call returns what stands for its result: to be handed on, or a part of it.

    ``options`` are the step's: ``name`` (None: the function's), ``retry`` (a policy, or a number of attempts),
    ``timeout`` in seconds, and as in Task ``description``, ``critical``, ``checkpoint``, ``on_interrupted``,
    ``isolation``, ``files``, ``output_schema``, ``on_change``, ``migrate``, ``renamed_from``, ``cache``. Raises
    UsageError for an option that there is not.

    >>> @task(retry=3, timeout=30)
    ... def double(number: int) -> int:
    ...     return 2 * number
    >>> double(21)
    42
    """
    if function is not None:
        return Step(function, options)
    return _Decorator(options)


class _Decorator:
    """What ``task(...)`` returns: it takes the function."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = _checked(options)

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Step[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Step[P, R]: ...
    def __call__(self, function: Callable[..., Any], /) -> Any:
        """Make the function a task."""
        return Step(function, self._options)


def _checked(options: Mapping[str, Any]) -> dict[str, Any]:
    known: Iterable[str] = StepOptions.__annotations__
    for name in options:
        if name not in known:
            hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
            raise UsageError(f"{here()}a step has no option {name!r} ({hint})")
    return dict(options)
