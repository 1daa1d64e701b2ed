"""Small random pipelines of pure functions, their random edits, and what they come to: by values, not by the product.

An oracle for ``chaos.edits``: it knows nothing of journals, fingerprints or plans, only what each step was given when
it ran last.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from random import Random

FUNCTIONS = ("mix", "blend", "stir")
SKIPPED = "skipped"
FEW = 3
"""Values are few, so that other work often comes to the same."""
Given = tuple[Any, ...]


@dataclass(frozen=True)
class Step:
    """One step: a function of its salt, of other steps' results, and of an input."""

    name: str
    function: str
    salt: int
    reads: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    input: str = ""
    condition: str = ""
    fails: bool = False
    renamed_from: str = ""
    title: str = ""


@dataclass
class Draft:
    """A pipeline: its inputs' defaults, its steps (each reads only those before it), the versions of its functions."""

    inputs: dict[str, int]
    steps: list[Step]
    versions: dict[str, int]

    def document(self) -> dict[str, Any]:
        """Return the pipeline in the language's own words."""
        return {
            "id": "drafted",
            "resume": {"max_retries": 1_000_000},
            "inputs": self.inputs,
            "steps": [_step(step) for step in self.steps],
            "outputs": {step.name: f"{{{{ {step.name}.result }}}}" for step in self.steps[-2:]},
        }


def _step(step: Step) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "salt": step.salt,
        "values": [f"{{{{ {read}.result }}}}" for read in step.reads],
        "fails": step.fails,
    }
    if step.input:
        parameters["extra"] = f"{{{{ inputs.{step.input} }}}}"
    told: dict[str, Any] = {"id": step.name, "tool": step.function, "parameters": parameters}
    rest = {
        "dependencies": list(step.after),
        "condition": step.condition,
        "renamed_from": step.renamed_from,
        "description": step.title,
    }
    return told | {key: value for key, value in rest.items() if value}


def result_of(version: int, salt: int, values: list[Any], extra: int | None) -> int:
    """Return what a step comes to. Two versions of a function may well come to the same."""
    return (salt + version // 2 + (extra or 0) + sum(1 if value is None else value for value in values)) % FEW


# -- what is to be ---------------------------------------------------------------------------------------------------


@dataclass
class Verdict:
    """What becomes of a draft: the values of steps that end well, those that run, and those that may end either way.

    ``loose`` are steps with a need that does not end well: they keep what they have, or wait.
    """

    values: dict[str, Any] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)
    runs: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    loose: set[str] = field(default_factory=set)

    @property
    def completes(self) -> bool:
        """Whether every step ends well."""
        return not self.failed and not self.loose


def judge(draft: Draft, last: dict[str, tuple[Given, Any]]) -> Verdict:
    """Return what a resume to the end has to come to, given what each step was given when it ended well last."""
    found = Verdict()
    for step in draft.steps:
        lost = [need for need in (*step.reads, *step.after) if need in found.failed | found.loose]
        if any(read not in found.values for read in step.reads) or _unreadable(step, found):
            found.loose.add(step.name)
            continue
        given = given_to(draft, step, found.values)
        known = last.get(step.name)
        if given == (SKIPPED,):
            if lost:
                found.loose.add(step.name)
            found.values[step.name] = None
            found.skipped.add(step.name)
        elif known is not None and known[0] == given:
            if lost:
                found.loose.add(step.name)
            found.values[step.name] = known[1]
        elif lost:
            found.loose.add(step.name)
        else:
            found.runs.add(step.name)
            if step.fails:
                found.failed.add(step.name)
            else:
                found.values[step.name] = result_of(draft.versions[step.function], step.salt, list(given[4]), given[5])
    return found


def _unreadable(step: Step, found: Verdict) -> bool:
    name = _condition_step(step.condition)
    return name is not None and name not in found.values


def _condition_step(condition: str) -> str | None:
    return condition.partition(".result")[0] if ".result" in condition else None


def given_to(draft: Draft, step: Step, values: dict[str, Any]) -> Given:
    """Return all that a step's outcome depends on."""
    if step.condition:
        name = _condition_step(step.condition)
        left = values[name] if name is not None else draft.inputs[step.condition.split(".")[1].split()[0]]
        if left != int(step.condition.rpartition(" ")[2]):
            return (SKIPPED,)
    return (
        step.function,
        draft.versions[step.function],
        step.salt,
        step.fails,
        tuple(values[read] for read in step.reads),
        draft.inputs[step.input] if step.input else None,
    )


# -- chance ----------------------------------------------------------------------------------------------------------


def draw(chance: Random) -> Draft:
    """Return a random pipeline: chains, diamonds, fans, or what comes."""
    draft = Draft({"a": chance.randrange(FEW), "b": chance.randrange(FEW)}, [], dict.fromkeys(FUNCTIONS, 1))
    shape = chance.choice(("chain", "fan", "any", "any"))
    for number in range(chance.randint(2, 9)):
        step = draw_step(chance, draft, f"s{number}")
        if shape == "chain" and draft.steps:
            step = replace(step, reads=(draft.steps[-1].name,))
        elif shape == "fan" and number:
            step = replace(step, reads=("s0",))
        draft.steps.append(step)
    return draft


def draw_step(chance: Random, draft: Draft, name: str, before: int | None = None) -> Step:
    """Return a random step that reads steps before the position."""
    names = [step.name for step in draft.steps[:before]]
    reads = tuple(chance.sample(names, min(len(names), chance.choice((0, 1, 1, 2, 3)))))
    left = [each for each in names if each not in reads]
    after = (chance.choice(left),) if left and chance.random() < 0.2 else ()
    return Step(
        name,
        chance.choice(FUNCTIONS),
        chance.randrange(FEW),
        reads,
        after,
        input=chance.choice(("", "", "a", "b")),
        condition=draw_condition(chance, names) if chance.random() < 0.2 else "",
        fails=chance.random() < 0.08,
    )


def draw_condition(chance: Random, names: list[str]) -> str:
    """Return a random condition over an input or a step."""
    left = f"{chance.choice(names)}.result" if names and chance.random() < 0.5 else f"inputs.{chance.choice('ab')}"
    return f"{left} == {chance.randrange(FEW)}"


def edited(chance: Random, draft: Draft, number: int) -> tuple[Draft, str]:  # noqa: C901, PLR0912 - one case a kind
    """Return the draft after a random edit, and the edit in words. ``number`` makes names new."""
    made = deepcopy(draft)
    steps = made.steps
    at = chance.randrange(len(steps))
    step = steps[at]
    kind = chance.choice(
        ("salt", "version", "new", "removed", "renamed", "renamed silently", "reads", "after", "condition", "input",
         "default", "mended", "broken", "title", "order", "no condition")
    )  # fmt: skip
    names = [each.name for each in steps[:at]]
    match kind:
        case "salt":
            steps[at] = replace(step, salt=chance.randrange(FEW))
        case "version":
            made.versions[step.function] += 1
        case "new":
            steps.insert(at, draw_step(chance, made, f"n{number}", at))
        case "removed" if len(steps) > 1:
            del steps[at]
            _rewire(steps, step.name, None)
        case "renamed" | "renamed silently":
            name = f"r{number}"
            steps[at] = replace(step, name=name, renamed_from=step.name if kind == "renamed" else "")
            _rewire(steps, step.name, name)
        case "reads":
            steps[at] = replace(step, reads=tuple(chance.sample(names, min(len(names), chance.randrange(3)))), after=())
        case "after":
            steps[at] = replace(step, after=tuple(name for name in names if name not in step.reads)[-1:])
        case "condition":
            steps[at] = replace(step, condition=draw_condition(chance, names))
        case "no condition":
            steps[at] = replace(step, condition="")
        case "input":
            steps[at] = replace(step, input=chance.choice(("", "a", "b")))
        case "default":
            made.inputs[chance.choice("ab")] = chance.randrange(FEW)
        case "mended":
            steps[:] = [replace(each, fails=False) for each in steps]
        case "broken":
            steps[at] = replace(step, fails=True)
        case "title":
            steps[at] = replace(step, title=f"edited {number} times")
        case "order":
            made.inputs = dict(reversed(made.inputs.items()))
        case _:
            pass
    return made, f"{kind} of {step.name}"


def _rewire(steps: list[Step], old: str, new: str | None) -> None:
    """Have every step that names another one name its new name, or do without."""
    for index, step in enumerate(steps):
        reads = tuple(new if read == old else read for read in step.reads)
        after = tuple(new if need == old else need for need in step.after)
        condition = step.condition
        if _condition_step(condition) == old:
            condition = "" if new is None else condition.replace(old, new, 1)
        steps[index] = replace(
            step,
            reads=tuple(read for read in reads if read is not None),
            after=tuple(need for need in after if need is not None),
            condition=condition,
        )
