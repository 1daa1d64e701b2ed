"""Random pipelines of the whole language: steps, for_each, loops, switches and blocks in each other; and their edits.

All names are different, so that a step is known by its name wherever it stands. What they come to is in
``chaos.meaning``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from random import Random

FEW = 4
"""Values are few, so that other work often comes to the same."""
DEPTH = 3


@dataclass(frozen=True)
class Node:
    """One step. ``kind``: ``step``, ``each``, ``loop``, ``switch`` or ``block``.

    ``reads`` are names of steps, or of what the constructs around call so; ``test`` is a condition: what is compared,
    and with what number. ``items`` is a template or a list; ``bound`` ends a loop, ``stop`` ends it sooner.
    ``fails_at``: it fails if it comes to this number; ``flaky``: it fails the first time.
    """

    name: str
    kind: str = "step"
    function: str = "mix"
    salt: int = 0
    reads: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    test: tuple[str, int] | None = None
    fails_at: int | None = None
    flaky: bool = False
    items: Any = None
    key: str | None = None
    at_once: int | None = None
    tolerate: Any = 0
    until: bool = True
    bound: int = 1
    stop: int | None = None
    most: int = 10
    cases: tuple[tuple[str, tuple[str, ...]], ...] = ()
    default: tuple[str, ...] | None = None
    body: tuple[Node, ...] = ()
    renamed_from: str = ""

    @property
    def alone(self) -> bool:
        """Whether it holds one step without a name."""
        return len(self.body) == 1 and not self.body[0].name


@dataclass
class Sketch:
    """A pipeline: the defaults of its inputs, and its steps."""

    inputs: dict[str, int]
    steps: tuple[Node, ...]
    tolerant: bool = field(default=False)

    def document(self) -> dict[str, Any]:
        """Return the pipeline in the language's own words."""
        return {
            "id": "sketched",
            "resume": {"max_retries": 1_000_000},
            "inputs": self.inputs,
            "steps": [_written(node) for node in self.steps],
            "outputs": {node.name: f"{{{{ {node.name}.result }}}}" for node in self.steps},
        }


def left(name: str) -> str:
    """Return what a template calls something to be read."""
    return name if name in ("item", "key", "index", "iteration", "last") or "." in name else f"{name}.result"


def _written(node: Node) -> dict[str, Any]:
    told: dict[str, Any] = {"id": node.name} if node.name else {}
    if node.after:
        told["dependencies"] = list(node.after)
    if node.test is not None:
        told["condition"] = f"{left(node.test[0])} == {node.test[1]}"
    if node.renamed_from:
        told["renamed_from"] = node.renamed_from
    if node.kind == "step":
        values = [f"{{{{ {left(read)} }}}}" for read in node.reads]
        told["tool"] = node.function
        told["parameters"] = {"salt": node.salt, "values": values, "fails_at": node.fails_at, "flaky": node.flaky}
        return told
    if node.kind == "switch":
        inner = {each.name: _written(each) for each in node.body}
        told["switch"] = {
            "value": left(node.reads[0]),
            "cases": {case: [inner[name] for name in names] for case, names in node.cases},
        }
        if node.default is not None:
            told["switch"]["default"] = [inner[name] for name in node.default]
        return told
    told |= _written(node.body[0]) if node.alone else {"steps": [_written(each) for each in node.body]}
    if node.kind == "each":
        rest = {"key": node.key, "max_parallel": node.at_once, "on_item_failure": node.tolerate or None}
        told["for_each"] = {"items": node.items} | {key: part for key, part in rest.items() if part is not None}
    elif node.kind == "loop":
        last = "last" if node.alone else f"last.{node.body[-1].name}"
        if node.until:
            early = f" or {last} == {node.stop}" if node.stop is not None else ""
            told["until"] = f"iteration >= {node.bound}{early}"
        else:
            early = f" and last != {node.stop}" if node.stop is not None and node.alone else ""
            told["while"] = f"iteration <= {node.bound}{early}"
        told["max_iterations"] = node.most
    return told


def walk(nodes: Sequence[Node]) -> Iterator[Node]:
    """Yield all steps with a name, those in others after them."""
    for node in nodes:
        if node.name:
            yield node
        yield from walk(node.body)


# -- chance ----------------------------------------------------------------------------------------------------------


class Draw:
    """Draws sketches; ``number`` makes names new."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.number = 0
        self.tolerant = False

    def name(self) -> str:
        """Return a name that was never there."""
        self.number += 1
        return f"s{self.number}"

    def sketch(self) -> Sketch:
        """Return a random pipeline."""
        chance = self.chance
        self.tolerant = chance.random() < 0.5
        steps: list[Node] = []
        for _ in range(chance.randint(1, 5)):
            steps.append(self.node([node.name for node in steps], (), DEPTH))
        inputs = {"a": chance.randrange(FEW), "b": chance.randrange(FEW)}
        return Sketch(inputs, tuple(steps), self.tolerant)

    def node(self, names: list[str], local: tuple[str, ...], depth: int) -> Node:
        """Return a random step that sees these names."""
        kinds = ("step", "step", "each", "each", "loop", "switch", "block") if depth else ("step",)
        kind = self.chance.choice(kinds)
        node = self.leaf(names, local) if kind == "step" else self.container(kind, names, local, depth)
        if self.chance.random() < 0.2 and not (node.alone and node.body[0].test):  # there is one place to write it
            node = replace(node, test=self.test(names, ()))
        free = [name for name in names if name not in node.reads]
        if free and self.chance.random() < 0.15:
            node = replace(node, after=(self.chance.choice(free),))
        return replace(node, name=self.name())

    def leaf(self, names: list[str], local: tuple[str, ...]) -> Node:
        """Return a random step without others in it, and without a name."""
        chance = self.chance
        seen = [*names, *local, "inputs.a", "inputs.b"]
        reads = tuple(chance.sample(seen, min(len(seen), chance.choice((0, 1, 1, 2, 3)))))
        if local and chance.random() < 0.7:
            reads = tuple(dict.fromkeys((*reads, chance.choice(local))))
        function = "deal" if chance.random() < 0.2 else "mix"
        fails = chance.randrange(FEW) if chance.random() < (0.2 if self.tolerant else 0.05) else None
        flaky = not self.tolerant and chance.random() < 0.1
        return Node("", "step", function, chance.randrange(FEW), reads, fails_at=fails, flaky=flaky)

    def test(self, names: list[str], local: tuple[str, ...]) -> tuple[str, int]:
        """Return a random condition."""
        return self.chance.choice((*names, *local, "inputs.a", "inputs.b")), self.chance.randrange(FEW)

    def container(self, kind: str, names: list[str], local: tuple[str, ...], depth: int) -> Node:
        """Return a random step that holds others."""
        chance = self.chance
        if kind == "each":
            inner = self.inside(names, _with(local, ("item", "key", "index")), depth, alone=chance.random() < 0.5)
            items, key = self.items(names, local)
            tolerate = chance.choice((0, "continue", 1, "50%")) if self.tolerant else 0
            at_once = chance.choice((None, None, 1, 2))
            if len(inner) == 1 and not inner[0].name and chance.random() < 0.3:
                inner = (replace(inner[0], test=(chance.choice(("item", "index")), chance.randrange(FEW))),)
            return Node("", kind, items=items, key=key, at_once=at_once, tolerate=tolerate, body=inner)
        if kind == "loop":
            inner = self.inside(names, _with(local, ("iteration", "last")), depth, alone=chance.random() < 0.5)
            stop = chance.randrange(FEW) if chance.random() < 0.5 else None
            most = 2 if chance.random() < 0.05 else 10
            until = chance.random() < 0.6
            return Node("", kind, until=until, bound=chance.randint(0, 4), stop=stop, most=most, body=inner)
        if kind == "switch":
            inner = self.inside(names, local, depth)
            at = sorted(chance.choices(range(len(inner) + 1), k=2))
            parts = [
                tuple(node.name for node in inner[one:two]) for one, two in zip([0, *at], [*at, None], strict=True)
            ]
            cases = tuple((str(chance_case), part) for chance_case, part in zip((0, 1), parts, strict=False) if part)
            inner = _standing(inner, [part for _, part in cases] + [parts[2]])
            if not cases:
                cases, parts[2] = (("0", parts[2]),), ()
            read = chance.choice((*names, "inputs.a", "inputs.b"))
            return Node("", kind, reads=(read,), cases=cases, default=parts[2] or None, body=inner)
        return Node("", kind, body=self.inside(names, local, depth))

    def inside(self, names: list[str], local: tuple[str, ...], depth: int, *, alone: bool = False) -> tuple[Node, ...]:
        """Return the steps of a container."""
        if alone:
            return (self.leaf(names, local),)
        found: list[Node] = []
        for _ in range(self.chance.randint(1, 3)):
            found.append(self.node([*names, *(node.name for node in found)], local, depth - 1))
        return tuple(found)

    def items(self, names: list[str], local: tuple[str, ...]) -> tuple[Any, str | None]:
        """Return the items of a for_each, and what names them."""
        chance = self.chance
        key = chance.choice((None, None, "{{ index }}", "k{{ index }}"))
        if names and chance.random() < 0.5:
            return f"{{{{ {chance.choice(names)}.result }}}}", key
        if "item" in local and chance.random() < 0.2:
            return ["{{ item }}", "more"], "{{ index }}"
        if chance.random() < 0.2:
            return "{{ inputs.a }}", key
        if chance.random() < 0.3:
            return {f"m{chance.randrange(6)}": chance.randrange(FEW) for _ in range(3)}, key
        return chance.sample(["x", "y", "z", 1, 2, 3], chance.randrange(5)), key


def _with(local: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*local, *more)))


def _standing(inner: tuple[Node, ...], branches: Sequence[tuple[str, ...]]) -> tuple[Node, ...]:
    """Return the steps of a switch such that none reads one of another branch."""
    branch = {name: number for number, names in enumerate(branches) for name in names}
    names = {node.name for node in inner}
    return tuple(
        without(node, {other for other in names if branch.get(other) != branch.get(node.name)}) for node in inner
    )


def without(node: Node, gone: set[str]) -> Node:
    """Return a step that reads none of these, in whatever depth."""
    items = node.items
    if isinstance(items, str) and items.strip("{} ").removesuffix(".result") in gone:
        items = "{{ inputs.a }}"
    reads = tuple(read for read in node.reads if read not in gone)
    if node.kind == "switch" and not reads:
        reads = ("inputs.b",)
    return replace(
        node,
        items=items,
        reads=reads,
        after=tuple(name for name in node.after if name not in gone),
        test=None if node.test is not None and node.test[0] in gone else node.test,
        body=tuple(without(inner, gone) for inner in node.body),
    )


# -- edits -----------------------------------------------------------------------------------------------------------


def edited(draw: Draw, sketch: Sketch) -> tuple[Sketch, str]:
    """Return the sketch after a random edit, and the edit in words."""
    chance = draw.chance
    node = chance.choice(list(walk(sketch.steps)))
    kind = chance.choice(("body", "body", "construct", "construct", "test", "renamed", "renamed silently", "removed",
                          "new", "default", "at once"))  # fmt: skip
    told = f"{kind} of {node.name}"
    inputs = dict(sketch.inputs)
    if kind == "default":
        inputs[chance.choice("ab")] = chance.randrange(FEW)
        return Sketch(inputs, sketch.steps, sketch.tolerant), told
    if kind == "new":
        draw.tolerant = sketch.tolerant
        made = draw.node([each.name for each in sketch.steps], (), DEPTH)
        return Sketch(inputs, (*sketch.steps, made), sketch.tolerant), told
    if kind == "removed":
        if len(sketch.steps) == 1 or node not in sketch.steps:
            return sketch, "nothing"
        left_ = tuple(without(each, {node.name}) for each in sketch.steps if each is not node)
        return Sketch(inputs, left_, sketch.tolerant), told
    if kind in ("renamed", "renamed silently"):
        name = draw.name()
        steps = tuple(_renaming(each, node.name, name, told=kind == "renamed") for each in sketch.steps)
        return Sketch(inputs, steps, sketch.tolerant), f"{told} to {name}"
    new = _changed(chance, node, kind, tolerant=sketch.tolerant)
    return Sketch(inputs, tuple(_replaced(each, node.name, new) for each in sketch.steps), sketch.tolerant), told


def _changed(chance: Random, node: Node, kind: str, *, tolerant: bool) -> Node:  # noqa: C901, PLR0912 - one case a kind
    if kind == "test":
        if node.test is not None:
            return replace(node, test=None)
        alone = node.alone and node.body[0].test is not None
        return node if alone else replace(node, test=(f"inputs.{chance.choice('ab')}", chance.randrange(FEW)))
    if kind == "at once" and node.kind == "each":
        tolerate = chance.choice((0, "continue", 1)) if tolerant else 0
        return replace(node, at_once=chance.choice((None, 1, 3)), tolerate=tolerate)
    if kind == "body":
        if node.kind == "step":
            return replace(node, salt=chance.randrange(FEW), fails_at=None)
        if node.alone:
            return replace(node, body=(replace(node.body[0], salt=chance.randrange(FEW), fails_at=None),))
    if kind == "construct":
        match node.kind:
            case "each" if isinstance(node.items, list):
                return replace(node, items=chance.sample(["x", "y", "z", 1, 2, 3], chance.randrange(6)))
            case "each" if isinstance(node.items, dict):
                return replace(node, items={f"m{chance.randrange(6)}": chance.randrange(FEW) for _ in range(3)})
            case "each":
                return replace(node, key=chance.choice((None, "{{ index }}", "k{{ index }}")))
            case "loop":
                return replace(node, bound=chance.randrange(5), most=10)
            case "switch":
                cases = tuple((str((int(case) + 1) % FEW), names) for case, names in node.cases)
                return replace(node, cases=cases)
            case _:
                pass
    return node


def _replaced(node: Node, name: str, new: Node) -> Node:
    if node.name == name:
        return new
    return replace(node, body=tuple(_replaced(inner, name, new) for inner in node.body)) if node.body else node


def _renaming(node: Node, old: str, new: str, *, told: bool) -> Node:
    """Return a step in which another one, or it itself, is called otherwise."""
    swap = {old: new}
    items = node.items
    if isinstance(items, str) and items == f"{{{{ {old}.result }}}}":
        items = f"{{{{ {new}.result }}}}"
    made = replace(
        node,
        items=items,
        reads=tuple(swap.get(read, read) for read in node.reads),
        after=tuple(swap.get(name, name) for name in node.after),
        test=None if node.test is None else (swap.get(node.test[0], node.test[0]), node.test[1]),
        cases=tuple((case, tuple(swap.get(name, name) for name in names)) for case, names in node.cases),
        default=None if node.default is None else tuple(swap.get(name, name) for name in node.default),
        body=tuple(_renaming(inner, old, new, told=told) for inner in node.body),
    )
    return replace(made, name=new, renamed_from=old if told else "") if node.name == old else made
