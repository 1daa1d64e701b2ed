"""The process of a pipeline and of those its steps run is killed at every named point; a resume goes on in all of them.

No step that was done is done again, and no step has two children, however deep it stands.
"""

from __future__ import annotations

import asyncio
import json
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chaos import nesting
from chaos.child import Order
from chaos.client import Forks
from orchestrator import Orchestrator
from orchestrator.crashpoints import POINTS
from orchestrator.domain.events import TaskClaimed, TaskCompleted
from orchestrator.errors import LeaseLost, UnknownExecution
from tests.e2e.cli_helpers import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.chaos

PATIENCE = 30.0
KILLED = -9
NOT_PASSED = ("resume", "blob", "acknowledge", "signal", "expand", "gather")
RUNS = [point for point in POINTS if not any(what in point for what in NOT_PASSED)]
THRICE = ("before_admission", "after_admission", "before_finish", "after_finish")
"""Each of the three executions passes these once; the others are passed by every step."""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as made:
        yield made


class Yard:
    """The project in a folder, its store, and processes that work on it."""

    def __init__(self, forks: Forks, folder: Path) -> None:
        self.forks = forks
        self.folder = folder
        self.store = f"sqlite:///{folder}/store/store.db?durability=process"
        self.kills = 0
        nesting.write(folder)

    def begin(self, verb: str, point: str = "", *, steal: bool = False, **facts: str) -> int:
        """Have a process run or resume; return its pid."""
        answer, facts["verb"] = str(self.folder / "answer"), verb
        return self.forks.start(
            Order("nest", str(self.folder), self.store, answer, point=point, steal=steal, facts=facts)
        )

    def work(self, verb: str, point: str = "", *, steal: bool = False) -> dict[str, Any] | None:
        """Have a process run or resume; return what it says, None if it was killed."""
        answer = self.folder / "answer"
        status = self.forks.wait(self.begin(verb, point, steal=steal), PATIENCE)
        assert status is not None, "the process does not end"
        if status == KILLED:
            self.kills += 1
            return None
        found: dict[str, Any] = json.loads(answer.read_text())
        return found

    def finish(self) -> None:
        """Resume until all is done, and hold everything against an undisturbed run."""
        found = self.work("resume")
        assert found is not None
        if found["code"] == UnknownExecution.exit_code:  # killed before there was anything
            found = self.work("run")
            assert found is not None
        assert found.get("outputs") == nesting.OUTPUTS, found
        effects = [tuple(line.split()) for line in (self.folder / "effects.log").read_text().splitlines()]
        claims, done = asyncio.run(self._journals())
        assert {name for name, _ in done} == set(nesting.EXECUTIONS), "one child a step, and no other"
        assert done == Counter({(name, task): 1 for name, tasks in nesting.EXECUTIONS.items() for task in tasks})
        assert len(set(effects)) == len(effects), "no attempt had its effect twice"
        assert {tuple(effect[-3:-1]) for effect in effects} <= set(claims)
        again = sum(count - 1 for (name, task), count in claims.items() if (name, task) not in _WAITING)
        assert again <= _AT_ONCE * self.kills, claims

    async def _journals(self) -> tuple[Counter[tuple[str, str]], Counter[tuple[str, str]]]:
        claims: Counter[tuple[str, str]] = Counter()
        done: Counter[tuple[str, str]] = Counter()
        async with Orchestrator(self.store) as reader:
            for summary in await reader.list_executions():
                name = summary.execution_id
                async for _seq, event in reader.facts(name):
                    if isinstance(event, TaskClaimed):
                        claims[name, event.task] += 1
                    elif isinstance(event, TaskCompleted):
                        done[name, event.task] += 1
        return claims, done


_AT_ONCE = 2
"""So many steps may be under way when the process dies, besides those that wait for a child."""
_WAITING = ((nesting.RUN, "mid"), (f"{nesting.RUN}~mid", "low"))
"""The steps that wait for a child: with each kill they begin another attempt, and go on with the same one."""


@pytest.mark.parametrize("point", RUNS)
def test_a_run_killed_at_a_point_goes_on_in_every_execution(forks: Forks, tmp_path: Path, point: str) -> None:
    counts = (2, 3) if point in THRICE else (3, 6)
    for count in counts:
        folder = tmp_path / str(count)
        folder.mkdir()
        yard = Yard(forks, folder)
        assert yard.work("run", f"{point}:{count}") is None, f"{point} is not passed {count} times"
        yard.finish()


@pytest.mark.parametrize(
    "point", ["before_resume:2", "after_resume:2", "after_resume:3", "after_claim:2", "before_finish"]
)
def test_a_resume_killed_at_a_point_goes_on_in_every_execution(forks: Forks, tmp_path: Path, point: str) -> None:
    yard = Yard(forks, tmp_path)
    assert yard.work("run", "before_effect:5") is None
    assert yard.work("resume", point) is None, f"{point} is not passed"
    yard.finish()


def test_a_stopped_process_loses_the_children_with_the_parent(forks: Forks, tmp_path: Path) -> None:
    yard = Yard(forks, tmp_path)
    zombie = yard.begin("run", hold="e")
    log = tmp_path / "effects.log"
    wait_until(lambda: log.exists() and "~low e" in log.read_text().replace("\t", " "), "the innermost step runs")
    forks.signal(zombie, signal.SIGSTOP)
    try:
        found = yard.work("resume", steal=True)
        assert found is not None
        assert found.get("outputs") == nesting.OUTPUTS, found
    finally:
        forks.signal(zombie, signal.SIGCONT)
    assert forks.wait(zombie, PATIENCE) == LeaseLost.exit_code
    yard.kills = 1
    yard.finish()
