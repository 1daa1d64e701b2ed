"""A pipeline of every construct is killed around what its containers decide and come to; a resume goes on exactly.

Real processes, forked from a warm one, and SIGKILL.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from chaos.child import Order
from chaos.client import Forks
from orchestrator import Orchestrator
from orchestrator.crashpoints import POINTS
from orchestrator.domain.events import (
    TaskClaimed,
    TaskCompleted,
    TaskExpanded,
    TaskFailed,
    TaskGathered,
    TaskInterrupted,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.chaos

PATIENCE = 30.0
KILLED = -9
COUNTS = (1, 2, 4)
"""At which passing of the point the run is killed, then its resume, then the resume of that."""
ENDS = {"a.result": 0, "block.result": 1}
"""What the last step adds up, and the exit code that comes of it: a block cannot be added, and the run is undone."""
COMPLETES, FAILS = ENDS
CASES = [
    ("before_expand", COMPLETES),
    ("after_expand", FAILS),
    ("before_gather", FAILS),
    ("after_gather", COMPLETES),
]
PIPELINE = """
inputs: {start: {type: integer}}
steps:
  - id: a
    tool: add
    parameters: {values: ["{{ inputs.start }}"]}
    undo: &undo {tool: add, parameters: {values: ["{{ result }}"]}}
  - id: rows
    for_each: {items: [2, 3], key: "r{{ item }}", max_parallel: 1}
    steps:
      - id: cells
        for_each: {items: ["{{ item }}", 7]}
        tool: add
        parameters: {values: ["{{ item }}", "{{ a.result }}"]}
      - id: poll
        until: last > 6
        tool: add
        parameters: {values: ["{{ iteration }}", "{{ last or 0 }}"]}
        dependencies: cells
      - {id: sum, tool: add, parameters: {values: ["{{ poll.result }}", "{{ cells.result[1] }}"]}, undo: *undo}
  - {id: pause, tool: wait, parameters: {for: 0.02}, dependencies: rows}
  - id: route
    switch:
      value: rows.result | length
      cases:
        "2":
          - {id: two, tool: add, parameters: {values: ["{{ item.sum }}"]}, for_each: "{{ rows.result }}"}
          - {id: after, tool: add, parameters: {values: "{{ two.result }}"}, undo: *undo}
      default:
        - {id: other, tool: add, parameters: {values: []}}
    dependencies: pause
  - id: block
    dependencies: pause
    steps:
      - {id: inner, tool: add, parameters: {values: ["{{ a.result }}"]}}
      - {id: off, when: inner.result == 0, tool: add, parameters: {values: []}}
  - {id: end, tool: add, parameters: {values: ["{{ END }}"]}, dependencies: [route, block]}
on_failure:
  - {id: tell, tool: add, parameters: {values: []}}
finally:
  - {id: clean, tool: add, parameters: {values: []}}
outputs: {rows: "{{ rows.result }}", after: "{{ route.result.after }}", end: "{{ end.result }}"}
"""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks() as made:
        yield made


class Yard:
    """A folder with the pipeline and its store, and processes that work on it."""

    def __init__(self, forks: Forks, folder: Path, end: str) -> None:
        self.forks = forks
        self.folder = folder
        self.store = f"sqlite:///{folder}/store/store.db?durability=process"
        (folder / "top.yaml").write_text(PIPELINE.replace("END", end), "utf-8")

    def work(self, verb: str, point: str = "") -> dict[str, Any] | None:
        """Have a process run or resume; return what it says, None if it was killed."""
        answer = self.folder / "answer"
        order = Order("nest", str(self.folder), self.store, str(answer), point=point, facts={"verb": verb})
        status = self.forks.wait(self.forks.start(order), PATIENCE)
        assert status is not None, "the process does not end"
        if status == KILLED:
            return None
        found: dict[str, Any] = json.loads(answer.read_text())
        return found

    async def end(self) -> dict[str, tuple[str, Any]]:
        """Hold the journal against the effects; return how each step ended, and with what."""
        at: list[tuple[str, int]] = []
        cut: set[tuple[str, int]] = set()
        facts: Counter[Any] = Counter()
        claims: Counter[tuple[str, int]] = Counter()
        async with Orchestrator(self.store) as made:
            async for _, event in made.facts("run"):
                match event:
                    case TaskClaimed():
                        claims[event.task, event.attempt] += 1
                    case TaskCompleted() | TaskFailed():
                        at.append((event.task, event.attempt))
                    case TaskInterrupted():
                        cut.add((event.task, event.attempt))
                    case TaskExpanded():
                        facts["expanded", event.task, *event.keys] += 1
                    case TaskGathered():
                        facts["gathered", event.task] += 1
                    case _:
                        pass
            state = await made.get_state("run")
            found = {
                str(name): (task.status.value, await made.get_value(task.value))
                for name, task in state.tasks.items()
                if name != "pause"  # it comes to when it ended
            }
        assert set(facts.values()) == {1}, f"decided twice: {facts}"
        assert len({task for task, _ in at}) == len(at), f"done twice: {sorted(at)}"
        lines = [line.split() for line in (self.folder / "effects.log").read_text().splitlines()]
        effects = Counter((line[-2], int(line[-1])) for line in lines)
        assert set(effects.values()) == {1}, f"an attempt had its effect twice: {effects}"
        assert set(effects) <= {*at, *cut}, f"neither done nor cut off: {set(effects) - {*at, *cut}}"
        assert set(claims.values()) == {1}
        return found


@pytest.fixture(scope="module")
def undisturbed(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, dict[str, Any]]]:
    found = {}
    for end, code in ENDS.items():
        yard = Yard(forks, tmp_path_factory.mktemp("undisturbed"), end)
        answer = yard.work("run")
        assert answer is not None
        assert answer["code"] == code, answer
        found[end] = answer.get("outputs"), asyncio.run(yard.end())
    return found


@pytest.mark.parametrize(("point", "end"), CASES)
def test_killed_around_what_a_container_decides_all_comes_to_the_same(
    forks: Forks, tmp_path: Path, undisturbed: dict[str, tuple[Any, dict[str, Any]]], point: str, end: str
) -> None:
    yard = Yard(forks, tmp_path, end)
    for leg, count in enumerate(COUNTS):
        assert yard.work("resume" if leg else "run", f"{point}:{count}") is None, f"{point}:{count} was not passed"
    answer = yard.work("resume")
    assert answer is not None
    assert answer["code"] == ENDS[end], answer
    outputs, steps = undisturbed[end]
    assert answer.get("outputs") == outputs
    assert asyncio.run(yard.end()) == steps


def test_every_point_of_containers_is_in_it() -> None:
    assert {point for point, _ in CASES} == {point for point in POINTS if point.endswith(("_expand", "_gather"))}
