"""What the simulator has found, each played again by hand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.simulation.expected import result_of
from chaos.simulation.run import Simulation, simulate
from chaos.simulation.scenario import Behaviour, Scenario
from orchestrator.compiler.build import build
from orchestrator.domain.events import TaskInterrupted
from orchestrator.domain.ids import TaskId
from orchestrator.domain.pipeline import RetryPolicy, Task

NOTHING = {"reads": {}, "start": 7}
RESULT = result_of("flaky", NOTHING)


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    made = Simulation(1, "memory", Path())
    yield made
    made.close()


def scenario(**behaviours: Behaviour) -> Scenario:
    """Return independent steps that are tried again five seconds after a failure."""
    policy = RetryPolicy(max_attempts=3, delay_seconds=5.0, jitter=False)
    tasks = [Task(TaskId(name), "simulated", parameters=NOTHING, retry=policy) for name in behaviours]
    results: dict[str, int | None] = {name: result_of(name, NOTHING) for name in behaviours}
    return Scenario("found", build(id="simulated", tasks=tasks), behaviours, {}, results)


def play(simulation: Simulation, seconds: float) -> None:
    """Let time pass."""
    world = simulation.world
    until = world.clock.monotonic() + seconds
    while world.clock.monotonic() < until:
        assert world.step(until)


def test_a_retry_does_not_wait_for_a_wall_clock_that_was_set_back(simulation: Simulation) -> None:
    flaky = scenario(flaky=Behaviour(fails=1))
    simulation.judge.add(flaky)
    process = simulation.begin(flaky)
    play(simulation, 1.0)
    process.clock.skew = -86400.0
    before = simulation.world.clock.monotonic()
    simulation.quiet()
    assert simulation.judge.cases["found"].facts.status == "completed"
    assert simulation.world.clock.monotonic() - before < 10


def test_a_retry_that_falls_due_after_a_cancel_does_not_keep_the_loop_busy(simulation: Simulation) -> None:
    both = scenario(flaky=Behaviour(fails=1), slow=Behaviour(seconds=(1e6,)))
    simulation.judge.add(both)
    process = simulation.begin(both)
    assert process.adapters.capacity > 1, "choose another seed: both steps are to run at once"
    play(simulation, 4.0)
    vars(process.executor)["cancel"] = lambda _attempt: None  # it takes its time to end
    engine = process.live.engine("found")
    assert engine is not None
    engine.cancel("somebody")
    before = simulation.world.steps
    play(simulation, 4.0)
    assert simulation.world.steps - before < 200


def test_a_cancel_without_an_owner_records_what_was_interrupted(simulation: Simulation) -> None:
    slow = scenario(flaky=Behaviour(seconds=(1e6,)))
    simulation.judge.add(slow)
    process = simulation.begin(slow)
    play(simulation, 1.0)
    simulation.world.calm()
    process.die()
    simulation.world.clock.advance(60)
    simulation.spawn("cancel", lambda other: simulation.cancel(other, slow, calm=True))
    simulation.quiet()
    facts = simulation.judge.cases["found"].facts
    assert facts.status == "cancelled"
    assert any(isinstance(event, TaskInterrupted) for event in facts.history)
    assert all(task.status != "running" for task in facts.tasks.values())


FOUND = {
    5892: "a process that was stopped while it renewed its lease began what it had claimed, long after it was robbed",
    23: "a resume that others overtook while it stood still took the store for damaged",
    8751: "the judge: a process that is stopped cannot end what it has begun",
}
"""Seeds that once failed, and why. They stay as long as the simulator draws the same from them."""


@pytest.mark.parametrize("seed", FOUND)
def test_a_seed_that_once_failed_holds(seed: int) -> None:
    assert simulate(seed, "memory").violation is None
