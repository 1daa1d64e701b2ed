"""What stands for a value that a run will have: to be handed on, never to be looked at."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

from orchestrator.compiler.expressions import RESERVED
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]*", re.ASCII)


class Handle:
    """Stands for an input, a step's result, or an expression over them, while a pipeline function draws its graph.

    ``rows["count"]``, ``rows.count`` and ``rows[0]`` stand for a part of it; in an f-string it is its template.
    Whatever would need the value itself raises UsageError, which says what to write instead.

    >>> rows = Handle("fetch.result", ("fetch",))
    >>> f"{rows['count']} rows of {rows[0].name}"
    '{{ fetch.result.count }} rows of {{ fetch.result[0].name }}'
    """

    __slots__ = ("_orc_expression", "_orc_owner", "_orc_steps")

    def __init__(self, expression: str, steps: tuple[str, ...] = (), owner: object = None) -> None:
        object.__setattr__(self, "_orc_expression", expression)
        object.__setattr__(self, "_orc_steps", steps)
        object.__setattr__(self, "_orc_owner", owner)

    def __getattr__(self, name: str) -> Handle:
        """Stand for a part by name."""
        if name.startswith("_"):
            raise AttributeError(f"{self!r} has no attribute {name!r}; a key of that name is written [{name!r}]")
        return _part(self, name)

    def __getitem__(self, key: Any) -> Handle:
        """Stand for a part by key or index; the key may be a handle, too."""
        if isinstance(key, Handle):
            steps = tuple(dict.fromkeys(steps_of(self) + steps_of(key)))
            return Handle(f"{expression_of(self)}[{expression_of(key)}]", steps, owner_of(self))
        if isinstance(key, slice):
            raise _absent(self, "a slice of it", "take it in a task, which has the value")
        if not isinstance(key, (str, int)) or isinstance(key, bool):
            raise _absent(self, f"its part {key!r}", "a key is text, a whole number, or a handle")
        return _part(self, key)

    def __copy__(self) -> Handle:
        """Return itself: it never changes."""
        return self

    def __deepcopy__(self, memo: object) -> Handle:
        """Return itself."""
        return self

    def __repr__(self) -> str:
        """Say what it stands for."""
        return f"<the coming value of {self}>"

    def __str__(self) -> str:
        """Return its template."""
        return f"{{{{ {expression_of(self)} }}}}"

    def __format__(self, spec: str) -> str:
        """Return its template; a format would need the value."""
        if spec:
            raise _absent(self, f"it with the format {spec!r}", "format it in a task")
        return str(self)


def expression_of(handle: Handle) -> str:
    """Return what stands between the braces of its template."""
    found: str = object.__getattribute__(handle, "_orc_expression")
    return found


def steps_of(handle: Handle) -> tuple[str, ...]:
    """Return the steps that it reads."""
    found: tuple[str, ...] = object.__getattribute__(handle, "_orc_steps")
    return found


def owner_of(handle: Handle) -> object:
    """Return the body that it was made in."""
    found: object = object.__getattribute__(handle, "_orc_owner")
    return found


def result_of(step: str, owner: object) -> Handle:
    """Return what stands for a step's result."""
    return Handle(f"{step}.result" if _WORD.fullmatch(step) else f"steps[{step!r}].result", (step,), owner)


item: Any = Handle("item")
"""In the call of a step with ``for_each``: what stands for the item."""
last: Any = Handle("last")
"""In the call of a step with ``repeat``: what stands for the result of the round before, None in the first."""


def expression(text: str, *values: Any, **named: Any) -> Any:
    """Return what stands for an expression over handles: of a condition, or where a value is to be computed.

    ``text`` is in the language of templates, without the outer braces; ``{}``, ``{0}`` and ``{name}`` are replaced by
    the handles, or by literals, as ``str.format`` does. It is evaluated when the step that it is given to begins.

    >>> count = Handle("fetch.result.count", ("fetch",))
    >>> print(expression("{} * 2 if {limit} else 0", count, limit=True))
    {{ fetch.result.count * 2 if true else 0 }}
    """
    try:
        written = text.format(*map(_literal, values), **{k: _literal(named[k]) for k in named})
    except (IndexError, KeyError, ValueError) as error:
        raise UsageError(
            f"expression({text!r}): {type(error).__name__}: {error}; {{}} stands for a handle, and a brace that is "
            "meant itself is written twice"
        ) from error
    handles = [value for value in (*values, *named.values()) if isinstance(value, Handle)]
    steps = tuple(dict.fromkeys(step for handle in handles for step in steps_of(handle)))
    return Handle(written.strip(), steps, owner_of(handles[0]) if handles else None)


def _literal(value: Any) -> str:
    """Write a value in the language of templates; of a computed one, all of it in parentheses."""
    if isinstance(value, Handle):
        text = expression_of(value)
        return text if re.fullmatch(r"[\w.\[\]'\"]+", text) else f"({text})"
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (str, int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_literal, value))}]"
    raise UsageError(f"an expression takes handles and literals, not {type(value).__name__}")


def _part(handle: Handle, key: str | int) -> Handle:
    dotted = isinstance(key, str) and _WORD.fullmatch(key) and key not in RESERVED
    end = f".{key}" if dotted else f"[{key!r}]"
    return Handle(f"{expression_of(handle)}{end}", steps_of(handle), owner_of(handle))


def _absent(handle: Handle, wanted: str, instead: str) -> UsageError:
    from orchestrator.functions.calls import here

    return UsageError(
        f"{here()}{handle} is not there yet, so there is no {wanted}: a pipeline function runs once, to draw the "
        f"graph, before any step has run; {instead}"
    )


def _refuse(wanted: str, instead: str) -> Callable[..., NoReturn]:
    def refuse(self: Handle, *_: Any, **__: Any) -> NoReturn:
        raise _absent(self, wanted, instead)

    return refuse


_COMPUTE = 'compute it in a task, or write orc.expression("{} + 1", value) with the operator that is meant'
_CONDITION = (
    'for a step that runs under a condition write step.when(orc.expression("{} > 3", value))(...), '
    'for one of two values orc.expression("{} if {} else {}", ...)'
)
_REFUSED = {
    ("truth", _CONDITION): "bool",
    ("comparison with it", _CONDITION): "eq ne lt le gt ge",
    ("membership in it", 'write orc.expression("{} in {}", ...)'): "contains",
    ("length", 'write orc.expression("{} | length", value), or count in a task'): "len",
    (
        "item to go through",
        "give the whole value to a task that goes through it, or write step.for_each(value)(orc.item)",
    ): "iter next reversed aiter",
    ("sum, product or the like", _COMPUTE): (
        "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and or xor "
        "radd rsub rmul rmatmul rtruediv rfloordiv rmod rdivmod rpow rlshift rrshift rand ror rxor "
        "neg pos abs invert round trunc floor ceil"
    ),
    ("number", _COMPUTE): "int float complex index",
    ("bytes or path", "make it in a task"): "bytes fspath",
    ("hash, as keys and sets need it", "put it into a list, or behind a key"): "hash",
    ("method to call", "call it in a task, which has the value"): "call",
    ("waiting for it", "a call in a pipeline function is written without await, also of an async task"): "await",
    ("block to enter", "open and close things in a task"): "enter aenter",
    ("assignment to a part of it", "a result is never changed: let a task return another one"): (
        "setattr setitem delattr delitem"
    ),
}
for (_wanted, _instead), _names in _REFUSED.items():
    for _name in _names.split():
        setattr(Handle, f"__{_name}__", _refuse(_wanted, _instead))
