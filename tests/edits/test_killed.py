"""Processes killed while they go on with an edited definition, fork, or are given a result; and then resumed.

What all of them ran together is what the first plan said, and it comes to what a fresh run comes to.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chaos.child import Order
from chaos.client import Forks
from chaos.drafts import Draft, Step, judge
from chaos.editing import tools
from orchestrator import Orchestrator
from orchestrator.crashpoints import POINTS
from orchestrator.domain.events import TaskCompleted
from orchestrator.domain.execution import TaskStatus
from orchestrator.domain.plan import Plan
from orchestrator.errors import UnknownExecution
from tests.edits.ground import may_run, must_run

pytestmark = pytest.mark.chaos

PATIENCE = 30.0
VERSIONS = {"mix": 1, "blend": 1, "stir": 1}
BEFORE = Draft(
    {"a": 0, "b": 1},
    [
        Step("one", "mix", 1, input="a"),
        Step("two", "mix", 0, ("one",)),
        Step("three", "blend", 1, ("two",)),
        Step("four", "stir", 2, ("two",)),
        Step("off", "mix", 0, ("one",), condition="inputs.b == 0"),
        Step("end", "blend", 0, ("three", "four")),
    ],
    VERSIONS,
)
AFTER = Draft(
    {"a": 0, "b": 0},
    [
        Step("one", "mix", 1, input="a"),
        Step("zwei", "mix", 2, ("one",), renamed_from="two"),
        Step("three", "blend", 1, ("zwei",)),
        Step("four", "stir", 0, ("zwei",)),  # another salt for another value: it comes to the same
        Step("off", "mix", 0, ("one",), condition="inputs.b == 0"),
        Step("new", "stir", 1, ("four",)),
        Step("end", "blend", 0, ("three", "four")),
    ],
    VERSIONS,
)
NOT_PASSED = ("admission", "blob", "signal", "expand", "gather")
RESUMES = [point for point in POINTS if not any(what in point for what in NOT_PASSED)]


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as made:
        yield made


class Yard:
    """A store and a log in a folder, and children that work on it."""

    def __init__(self, forks: Forks, folder: Path) -> None:
        self.forks = forks
        self.folder = folder
        self.store = f"sqlite:///{folder}/store/store.db?durability=process"
        self.count = 0

    def child(self, verb: str, draft: Draft | None, point: str = "", execution: str = "run", **asked: Any) -> int:
        """Have a child do something; return its exit status (minus the signal of a killed one)."""
        self.count += 1
        facts = {
            "verb": verb,
            "execution": execution,
            "document": None if draft is None else draft.document(),
            "versions": VERSIONS,
            "source": "run",
            "asked": asked,
        }
        answer = self.folder / f"answer-{self.count}"
        pid = self.forks.start(Order("edit", str(self.folder), self.store, str(answer), point=point, facts=facts))
        status = self.forks.wait(pid, PATIENCE)
        assert status is not None, "the child does not end"
        assert status <= 1, answer.read_text()
        return status

    def effects(self, execution: str = "run", what: str = "begin") -> list[tuple[str, Any]]:
        """Return what the functions noted."""
        lines = [line.split("\t") for line in (self.folder / "effects.log").read_text().splitlines()]
        return [(task, json.loads(told)) for kind, of, task, told in lines if (kind, of) == (what, execution)]

    def open(self) -> Orchestrator:
        return Orchestrator(self.store, tools=tools(str(self.folder / "effects.log"), VERSIONS))

    async def plan(self, draft: Draft | None, execution: str = "run", **asked: Any) -> Plan:
        from orchestrator import Pipeline

        async with self.open() as made:
            if draft is not None:
                asked["pipeline"] = Pipeline.from_dict(draft.document(), tools=made.tools)
            return await made.plan(execution, **asked)

    async def values(self, execution: str = "run") -> tuple[str, dict[str, Any], set[str]]:
        """Return the status, the values, and the steps that were skipped."""
        async with self.open() as made:
            state = await made.get_state(execution)
            values = {str(name): await made.get_value(task.value) for name, task in state.tasks.items()}
            skipped = {str(name) for name, task in state.tasks.items() if task.status is TaskStatus.SKIPPED}
            return state.status.value, values, skipped

    async def journal(self, execution: str = "run") -> list[Any]:
        async with self.open() as made:
            return [event async for _, event in made.facts(execution)]

    def last(self, execution: str = "run") -> dict[str, Any]:
        """Return what each step was given when it ended, and its value."""
        found = {}
        for task, (given, value) in self.effects(execution, "end"):
            given[4] = tuple(given[4])
            found[task] = tuple(given), value
        return found


@pytest.fixture
def yard(forks: Forks, tmp_path: Path) -> Yard:
    (tmp_path / "store").mkdir()
    made = Yard(forks, tmp_path)
    assert made.child("run", BEFORE) == 0
    return made


def ran_since(yard: Yard, count: int, execution: str = "run") -> Counter[str]:
    return Counter(task for task, _ in yard.effects(execution)[count:])


@pytest.mark.parametrize("point", RESUMES)
async def test_a_resume_into_an_edited_definition(yard: Yard, point: str) -> None:
    last = yard.last()
    last["zwei"] = last.pop("two")
    expected = judge(AFTER, last)
    before = len(yard.effects())
    plan = await yard.plan(AFTER)
    facts = len(await yard.journal())

    killed = yard.child(
        "resume", AFTER, point=f"{point}:2" if "resume" not in point and "finish" not in point else point
    )
    assert killed == -9, f"{point} was not passed"
    recorded = len(await yard.journal()) > facts
    # Once it is recorded what the execution is of, nobody needs to say it again.
    assert yard.child("resume", None if recorded else AFTER) == 0

    ran = ran_since(yard, before)
    assert set(ran) == expected.runs
    assert must_run(plan) <= set(ran) <= must_run(plan) | may_run(plan)
    assert sum(ran.values()) <= len(ran) + 2, "more than what was under way ran again"
    completed = Counter(str(event.task) for event in (await yard.journal())[facts:] if isinstance(event, TaskCompleted))
    assert set(completed.values()) == {1}
    assert await yard.values() == ("completed", expected.values, expected.skipped)


@pytest.mark.parametrize(
    "point", ["before_commit:1", "after_commit:1", "after_claim", "after_effect:2", "before_finish"]
)
async def test_a_resume_with_a_given_result(yard: Yard, point: str) -> None:
    before, facts = len(yard.effects()), len(await yard.journal())
    plan = await yard.plan(None, set_results={"two": 7})
    assert must_run(plan) | may_run(plan) == {"three", "four", "end"}
    assert yard.child("resume", None, point=point, set_results={"two": 7}) == -9
    recorded = len(await yard.journal()) > facts
    given: dict[str, Any] = {} if recorded else {"set_results": {"two": 7}}
    assert yard.child("resume", None, **given) == 0
    ran = ran_since(yard, before)
    assert must_run(plan) <= set(ran) <= must_run(plan) | may_run(plan)
    status, values, _ = await yard.values()
    last = yard.last()
    last["two"] = (last["two"][0], 7)
    assert (status, values) == ("completed", judge(BEFORE, last).values)


@pytest.mark.parametrize("point", ["before_admission", "after_admission", "before_commit", "after_commit"])
async def test_a_fork_killed_is_there_as_a_whole_or_not_at_all(yard: Yard, point: str) -> None:
    original = await yard.journal()
    yard.child("fork", AFTER, point=point, execution="fork", inputs={"a": 2})
    try:
        await yard.journal("fork")
    except UnknownExecution:
        assert yard.child("fork", AFTER, execution="fork", inputs={"a": 2}) == 0
    plan = await yard.plan(None, "fork")
    assert yard.child("resume", None, point="after_effect", execution="fork") == -9
    assert yard.child("resume", None, execution="fork") == 0
    expected = judge(Draft({"a": 2, "b": 0}, AFTER.steps, VERSIONS), {})
    assert await yard.values("fork") == ("completed", expected.values, expected.skipped)
    ran = ran_since(yard, 0, "fork")
    assert must_run(plan) <= set(ran) <= must_run(plan) | may_run(plan)
    assert await yard.journal() == original
