"""Run a pipeline in a test: on a clock that jumps, in memory, with fakes for its steps, and through crashes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

from orchestrator.compiler.places import compile_at
from orchestrator.crashpoints import watched
from orchestrator.domain.ids import CHILD
from orchestrator.domain.pipeline import definition_of
from orchestrator.domain.tasks import STUCK
from orchestrator.domain.words import did_you_mean
from orchestrator.errors import ExecutionError, NoCheckpoint, UsageError
from orchestrator.orchestrator import Orchestrator
from orchestrator.testing.clock import ManualClock, SeededChance
from orchestrator.testing.fakes import Call, Fakes, FakingExecutor
from orchestrator.testing.loop import ManualLoop
from orchestrator.testing.process import Death, TestProcess, in_process, mortal_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping

    from orchestrator.domain.pipeline import Compiled, Pipeline
    from orchestrator.domain.plan import Plan
    from orchestrator.ports.executor import Executor
    from orchestrator.ports.tools import Tools
    from orchestrator.revisions import PlanOptions

T = TypeVar("T")

LONGEST_SECONDS = 90 * 86400.0
"""How long a test waits on its clock before it says that nothing happens any more."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a run, or a resume, has come to.

    ``status`` is the execution's, or ``crashed``. ``calls`` are the attempts of this run, in the order they began,
    ``seconds`` what it took on the clock. ``outputs``, ``results`` and ``statuses`` are what is recorded by now, of all
    steps; ``failures`` the messages of those that failed. ``error`` is what the run raised, None if it completed.
    """

    execution_id: str
    status: str
    calls: tuple[Call, ...] = field(default=(), repr=False)
    seconds: float = 0.0
    outputs: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    statuses: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    error: ExecutionError | None = field(default=None, repr=False)

    @property
    def order(self) -> list[str]:
        """The steps in the order their attempts began; a step stands there once for each attempt."""
        return [call.step for call in self.calls]

    def calls_of(self, step: str) -> list[Call]:
        """Return the attempts of one step."""
        return [call for call in self.calls if call.step == step]


class Bench:
    """An execution in a test: run it, let it crash, change its fakes, resume it.

    ``fakes`` maps steps to what answers for them instead of their tools: a value is the result, an exception (or its
    class) is raised, a function is called with the step's parameters by name (and the TaskContext, if it takes one),
    ``in_turn`` answers each attempt differently. Parameters that the tool would refuse fail a faked step, too.
    Steps without a fake are run for real; with ``strict`` they fail. Of a step that runs a pipeline, the steps in there
    may have fakes, too: ``STEP~INNER``.
    Secrets are those in ``secrets``, by name, and made-up ones for all others: a test never sees the real ones.
    All waiting (retries, timeouts, what a fake sleeps) passes at once on ``clock``. Nothing is written to the disk but
    by real steps, and nothing outlives the bench. Usable with or without an event loop running.

    >>> import orchestrator as orc
    >>> from orchestrator.testing import in_turn
    >>> ask = orc.Task("ask", "shell", parameters={"command": ["curl", "{{ inputs.url }}"]}, retry=orc.RetryPolicy(3))
    >>> fetch = orc.Pipeline(id="fetch", tasks=[ask], inputs=[orc.Input("url")], outputs={"text": "{{ ask.result }}"})
    >>> bench = Bench(fetch, {"ask": in_turn(TimeoutError("slow"), "hello")})
    >>> run = bench.run(url="https://example.org")
    >>> run.status, run.outputs, run.order
    ('completed', {'text': 'hello'}, ['ask', 'ask'])
    >>> run.calls[0].parameters["command"]
    ['curl', 'https://example.org']
    """

    def __init__(  # noqa: PLR0913 - the keywords are the test's choices
        self,
        pipeline: Pipeline | Compiled | str | Path,
        fakes: Mapping[str, Any] | None = None,
        *,
        strict: bool = False,
        clock: ManualClock | None = None,
        seed: int = 0,
        tools: Tools | None = None,
        secrets: Mapping[str, str] | None = None,
        longest_seconds: float = LONGEST_SECONDS,
    ) -> None:
        self.clock = clock or ManualClock()
        self.calls: list[Call] = []
        self.fakes: dict[str, Any] = dict(fakes or {})
        self.execution_id = "test"
        self._strict = strict
        self._tools = tools
        self._secrets = secrets
        self._longest = longest_seconds
        self._chance = SeededChance(seed)
        self._began = self.clock.monotonic()
        self._store = mortal_store(self.clock, self._chance)
        self._crashed = False
        self.pipeline = self._definition(pipeline)

    def run(self, inputs: Mapping[str, Any] | None = None, *, crash: str | None = None, **more: Any) -> Run:
        """Run the pipeline as a new execution; the inputs are a mapping, or keywords.

        ``crash`` lets the process die at a named point (``after_effect``, or ``after_effect:2`` for the second time;
        see docs/guarantees.md): what was recorded then is what ``resume`` goes on from. Whether it completes, fails or
        crashes, it returns; only wrong inputs and wrong names raise.
        """
        given = {**(inputs or {}), **more}

        async def start(orchestrator: Orchestrator) -> None:
            await orchestrator.run_pipeline(self.pipeline, given, execution_id=self.execution_id)

        return self._drive(start, crash)

    def resume(
        self, *, crash: str | None = None, expect: Plan | str | None = None, **options: Unpack[PlanOptions]
    ) -> Run:
        """Go on with the execution as ``Orchestrator.resume_pipeline`` does, with the same options.

        After a crash it takes the execution over, as another process would.
        """
        steal, self._crashed = self._crashed, False
        if (edited := options.get("pipeline")) is not None:
            self.pipeline = self._definition(edited)

        async def start(orchestrator: Orchestrator) -> None:
            await orchestrator.resume_pipeline(self.execution_id, steal=steal, expect=expect, **options)

        return self._drive(start, crash)

    def plan(self, **options: Unpack[PlanOptions]) -> Plan:
        """Return what ``resume`` with the same options would do with each step, and why; changes nothing."""

        async def ask(orchestrator: Orchestrator) -> Plan:
            return await orchestrator.plan(self.execution_id, **options)

        return self._in_process(ask)

    def _definition(self, pipeline: Pipeline | Compiled | str | Path) -> Pipeline:
        if not isinstance(pipeline, (str, Path)):
            return definition_of(pipeline)
        orchestrator = Orchestrator(tools=self._tools)
        return compile_at(pipeline, orchestrator.tools, library=orchestrator.library)

    # -- processes -----------------------------------------------------------------------------------------------

    def _drive(self, start: Callable[[Orchestrator], Awaitable[object]], crash: str | None) -> Run:
        """Run a process to its end, and tell what it came to."""
        self._check_fakes()
        death = Death(crash)
        first, began = len(self.calls), self.clock.monotonic()

        async def run(orchestrator: Orchestrator) -> ExecutionError | None:
            try:
                await start(orchestrator)
            except ExecutionError as error:
                return error
            return None

        error = None
        try:
            with watched(death.watch):
                error = self._in_process(run, death)
        except BaseException:
            if not death.dead:
                raise
        self._crashed = death.dead
        death.check_happened()
        calls, seconds = tuple(self.calls[first:]), self.clock.monotonic() - began

        async def look(orchestrator: Orchestrator) -> Run:
            status = "crashed" if death.dead else ""
            return await _told(orchestrator, Run(self.execution_id, status, calls, seconds, error=error))

        return self._in_process(look)

    def _check_fakes(self) -> None:
        known = [str(name) for name in self.pipeline.tasks]
        for name in self.fakes:
            if name.partition(CHILD)[0] not in known:
                hint = did_you_mean(name, known) or f"there are {', '.join(known)}"
                raise UsageError(f"fakes: pipeline {self.pipeline.id!r} has no step {name!r} ({hint})")

    def _in_process(self, main: Callable[[Orchestrator], Coroutine[Any, Any, T]], death: Death | None = None) -> T:
        """Run something as a process of its own would: on a new loop, with a new handle on the store."""
        death = death or Death(None)
        store = self._store.of_process(death)
        process = TestProcess(self.clock, self._chance, store, self._wrapped, tools=self._tools, secrets=self._secrets)
        loop = ManualLoop(self.clock, self._longest)
        loop.moved = process.tend
        return in_process(process, main, loop.run)

    def _wrapped(self, real: Executor, tools: Tools) -> Executor:
        fakes = Fakes(self.fakes, tools, strict=self._strict)
        return FakingExecutor(fakes, real, self.calls, began=self._began)


def run_pipeline(
    pipeline: Pipeline | Compiled | str | Path,
    inputs: Mapping[str, Any] | None = None,
    *,
    fakes: Mapping[str, Any] | None = None,
    strict: bool = False,
    crash: str | None = None,
    clock: ManualClock | None = None,
) -> Run:
    """Run a pipeline once on a fresh Bench, and return what it came to.

    >>> import orchestrator as orc
    >>> greet = orc.Pipeline(id="p", tasks=[orc.Task("greet", "shell", parameters={"command": ["date"]})])
    >>> run_pipeline(greet, fakes={"greet": OSError("no shell here")}).failures
    {'greet': 'no shell here'}
    """
    return Bench(pipeline, fakes, strict=strict, clock=clock).run(inputs, crash=crash)


async def _told(orchestrator: Orchestrator, run: Run) -> Run:
    """Return the run with what is recorded by now."""
    try:
        state = await orchestrator.get_state(run.execution_id)
    except NoCheckpoint:
        return run
    tasks = {str(name): task for name, task in state.tasks.items()}
    return replace(
        run,
        status=run.status or state.status.value,
        outputs=await orchestrator.get_value(state.outputs) or {},
        results={
            name: await orchestrator.get_value(task.value) for name, task in tasks.items() if task.value is not None
        },
        statuses={name: task.status.value for name, task in tasks.items()},
        failures={name: task.error.message for name, task in tasks.items() if task.error and task.status in STUCK},
    )
