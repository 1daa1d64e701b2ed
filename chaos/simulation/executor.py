"""Where simulated attempts run: answers late, twice, in any order, or after the attempt was given up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.domain.events import ErrorInfo
from orchestrator.ports.executor import Cancelled, Crashed, Failed, Outcome, Succeeded

if TYPE_CHECKING:
    from chaos.simulation.scenario import Behaviour
    from chaos.simulation.world import Process
    from orchestrator.ports.executor import Attempt, Reporter

Key = tuple[str, str, int]


class SimulatedExecutor:
    """Implements ports.executor.Executor for one simulated process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._world = process.world
        self._judge = process.world.judge
        self._running: dict[Key, Reporter] = {}

    def start(self, attempt: Attempt, reporter: Reporter) -> None:
        """Begin an attempt: its effect counts from here on."""
        process, world = self._process, self._world
        process.check_alive()
        late = world.danger("pause at the effect", 0.01)
        if late:
            seconds = world.random.choice((1.0, 29.0, 45.0))
            world.log(f"{process.name} is stopped for {seconds} s right before {attempt.task_id} begins")
            world.freeze(process, seconds, keeper_alive=False)
        behaviour = self._judge.began(process, attempt, late=late)
        key = (attempt.execution_id, attempt.task_id, attempt.attempt)
        chance = world.random
        seconds = chance.choice(behaviour.seconds) * chance.random()
        if world.quick:
            seconds = min(seconds, 5.0)
        outcome = self._outcome(attempt, behaviour)
        if attempt.timeout is not None and seconds > attempt.timeout:
            seconds = attempt.timeout
            outcome = Failed(ErrorInfo("timeout", "it took too long"), ("timeout",))
        loop = process.loop
        for number in range(chance.randint(1, 3) if behaviour.saves else 0):
            state = {"saved by": attempt.attempt, "n": number}
            loop.call_later(seconds * chance.random(), self._save, key, attempt, reporter, state)
        self._running[key] = reporter
        loop.call_later(seconds, self._end, key, attempt, reporter, outcome)
        if world.danger("kill at the effect", 0.01):
            world.log(f"{process.name} is killed as {attempt.task_id} has begun")
            process.die()
            process.check_alive()

    def _outcome(self, attempt: Attempt, behaviour: Behaviour) -> Outcome:
        times = self._judge.times_begun(attempt)
        if behaviour.always_fails or times <= behaviour.fails:
            return Failed(ErrorInfo("flaky", f"try {times}"), ("flaky",))
        if behaviour.poison or times <= behaviour.fails + behaviour.crashes:
            return Crashed(f"the worker died at try {times}")
        return Succeeded(self._judge.value_of(self._process, attempt))

    def _save(self, key: Key, attempt: Attempt, reporter: Reporter, state: object) -> None:
        if key in self._running:
            reporter.saved(attempt, state)
            reporter.progressed(attempt, 1, 2, "half way")

    def _end(self, key: Key, attempt: Attempt, reporter: Reporter, outcome: Outcome) -> None:
        if self._running.pop(key, None) is None:
            return
        world = self._world
        self._judge.ended(attempt, outcome)
        reporter.finished(attempt, outcome)
        if world.danger("second answer", 0.05):
            world.log(f"{attempt.task_id} attempt {attempt.attempt} answers twice")
            second: Outcome = Succeeded({"v": -1, "by": "a second answer"})
            if world.random.random() < 0.3:
                second = Failed(ErrorInfo("flaky", "a second answer"))
            self._process.loop.call_later(world.random.choice((0.0, 0.1, 5.0)), reporter.finished, attempt, second)

    def cancel(self, attempt: Attempt) -> None:
        """End an attempt; it may have ended already, its answer on the way."""
        if self._process.dead:
            return
        key = (attempt.execution_id, attempt.task_id, attempt.attempt)
        reporter = self._running.pop(key, None)
        if reporter is None:
            return
        self._judge.ended(attempt, Cancelled())
        if self._world.danger("no answer to a cancel", 0.2):
            return  # the engine leaves it behind
        delay = self._world.random.choice((0.0, 0.0, 1.0))
        self._process.loop.call_later(delay, reporter.finished, attempt, Cancelled())

    def die(self) -> None:
        """End everything at once: the process is dead."""
        for key in self._running:
            self._judge.cut_off(key)
        self._running.clear()

    async def close(self) -> None:
        """Do nothing: a simulated process is not closed, it ends or dies."""
