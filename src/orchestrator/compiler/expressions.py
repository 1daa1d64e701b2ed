"""Expressions: Jinja's grammar, compiled to plain closures over plain data.

Jinja reads the text; nothing of it evaluates. The tree it returns is turned into closures by one function per kind of
node, and a kind that has none is refused: there are no calls besides ``range``, no attributes (``a.b`` is the key
``b`` of a mapping, never a Python attribute), no assignments. So an expression reaches nothing but its scope.
"""

from __future__ import annotations

import functools
import inspect
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from orchestrator.compiler import filters, limits
from orchestrator.compiler.limits import Meter, Missing, TemplateFault
from orchestrator.domain.secret import NAME_RULE, SECRET_NAME
from orchestrator.domain.words import did_you_mean, kind_of, shorten

MAX_EXPRESSION = 10_000
"""Longest expression, in characters."""
_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)+", re.ASCII)
_WORDS = frozenset(("true", "false", "none", "True", "False", "None", "not", "and", "or", "if", "else", "is", "in"))
SECRETS = "secrets"
"""The root of what only the parameters of steps may name, alone between its braces."""
RESERVED = frozenset(("inputs", "parameters", "execution", "attempt", "steps", SECRETS)) | _WORDS
"""Names that mean something in every expression; no step can be called so."""


class Frame(NamedTuple):
    """What an evaluation sees and what it may cost."""

    scope: Mapping[str, Any]
    meter: Meter


Evaluate = Callable[[Frame], Any]


class Reference(NamedTuple):
    """What an expression reads: a root and the literal keys after it, like ``("fetch", "result", "rows")``.

    ``dynamic`` tells that a computed key follows, so that the path says only where the reading begins.
    """

    path: tuple[str | int, ...]
    dynamic: bool = False


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression: its text, what it reads, and the function that evaluates it.

    ``is_path`` tells that it only reads, like ``fetch.result.rows``, and computes nothing. ``secret`` is the name of
    the secret that it is; such an expression has no value here.
    """

    text: str
    references: tuple[Reference, ...]
    evaluate: Evaluate
    is_path: bool = False
    secret: str | None = None


def compile_expression(text: str) -> Expression:
    """Compile one expression (without braces); raise TemplateFault saying what is wrong with it."""
    text = text.strip()
    if _SIMPLE.fullmatch(text):
        parts = text.split(".")
        if _WORDS.isdisjoint(parts) and parts[0] != SECRETS:
            return _simple(text, parts)
    if not text:
        raise TemplateFault("an expression is missing between the braces")
    if len(text) > MAX_EXPRESSION:
        raise TemplateFault(f"longer than {MAX_EXPRESSION:,} characters")
    compiler = _Compiler()
    try:
        tree = _parse(text)
        evaluate = compiler.node(tree)
    except RecursionError:
        raise TemplateFault("nested too deeply") from None
    is_path = type(tree).__name__ in ("Name", "Getattr", "Getitem") and not compiler.computes
    references = tuple(dict.fromkeys(compiler.references))
    if any(reference.path[0] == SECRETS for reference in references):
        return Expression(text, references, _no_value, is_path, _secret_name(references, is_path=is_path))
    return Expression(text, references, evaluate, is_path)


def _secret_name(references: tuple[Reference, ...], *, is_path: bool) -> str:
    """Return the name of the secret that an expression is; raise TemplateFault if it is more than one name."""
    path, dynamic = references[0]
    if path == (SECRETS,) and not dynamic and is_path:
        raise TemplateFault("secrets are named one by one: write {{ secrets.NAME }}")
    if dynamic and len(path) == 1:
        raise TemplateFault("a secret is named by a literal, not computed: which ones a pipeline needs is known before")
    if not is_path or dynamic or len(path) != 2:  # noqa: PLR2004 - secrets, NAME
        raise TemplateFault(
            "nothing is computed of a secret: {{ secrets.NAME }} stands alone between its braces, text may stand "
            "around them; what a service wants of it otherwise is made by the step, or kept as a secret of its own"
        )
    name = path[1]
    if not isinstance(name, str) or not SECRET_NAME.fullmatch(name):
        raise TemplateFault(f"{str(name)[:140]!r} cannot name a secret: a name is {NAME_RULE}")
    return name


def _no_value(frame: Frame) -> Any:  # noqa: ARG001
    raise TemplateFault("a secret is given to the parameters of steps only")


def _simple(text: str, parts: list[str]) -> Expression:
    """Compile ``a.b.c``, as most expressions are, without the parser."""
    root, keys = ("inputs" if parts[0] == "parameters" else parts[0]), parts[1:]

    def evaluate(frame: Frame) -> Any:
        value: Any = frame.scope
        try:
            value = value[root]
            for key in keys:
                if type(value) is not dict and not isinstance(value, Mapping):
                    break
                value = value[key]
            else:
                return value
        except KeyError:
            pass
        return walk(frame.scope, (root, *keys))

    return Expression(text, (_reference((root, *keys)),), evaluate, is_path=True)


def _parse(text: str) -> Any:
    from jinja2 import TemplateSyntaxError
    from jinja2.parser import Parser

    try:
        parser = Parser(_environment(), text, state="variable")
        tree = parser.parse_expression()
        if not parser.stream.eos:
            raise TemplateFault(f"not an expression: unexpected {shorten(str(parser.stream.current.value))!r}")
    except TemplateSyntaxError as error:
        raise TemplateFault(f"not an expression: {error.message}") from None
    except (ValueError, OverflowError):
        raise TemplateFault("a number with too many digits") from None
    return tree


_environments: list[Any] = []


def _environment() -> Any:
    if not _environments:
        from jinja2 import Environment

        _environments.append(Environment(autoescape=False, optimized=False))  # noqa: S701 - it only parses
    return _environments[0]


def _reference(path: tuple[str | int, ...], *, dynamic: bool = False) -> Reference:
    """Name a reference by what it reads: ``parameters`` is ``inputs``, ``steps['a']`` is ``a``."""
    if path[0] == "parameters":
        path = ("inputs", *path[1:])
    if path[0] == "steps" and len(path) > 1 and isinstance(path[1], str) and path[1] not in RESERVED:
        path = path[1:]
    return Reference(path, dynamic)


def walk(scope: Mapping[str, Any], path: tuple[str | int, ...]) -> Any:
    """Follow a path and say exactly where it ends; raise Missing."""
    value: Any = scope
    for index, key in enumerate(path):
        try:
            value = filters.lookup(value, key)
        except Missing:
            raise Missing(_missing(path[:index], value, key)) from None
    return value


def _missing(path: tuple[str | int, ...], value: Any, key: Any) -> str:
    where = _path(path)
    if not where:
        return f"there is no {key!r} here"
    if isinstance(value, Mapping):
        hint = did_you_mean(key, [name for name in value if isinstance(name, str)]) if isinstance(key, str) else None
        return f"{where} has no {key!r}" + (f"; {hint}" if hint else "")
    if isinstance(value, (list, tuple, str)) and isinstance(key, int):
        return f"{where} has {len(value)} items, so none at {key}"
    return f"{where} is {kind_of(value)}, so it has no {key!r}"


def _path(path: tuple[str | int, ...]) -> str:
    text = ""
    for part in path:
        if isinstance(part, str) and part.isidentifier():
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]" if text else str(part)
    return text


_OPERATORS: dict[str, Callable[[Any, Any, Meter], Any]] = {
    "Add": limits.add,
    "Sub": limits.subtract,
    "Mul": limits.multiply,
    "Div": limits.divide,
    "FloorDiv": limits.floor_divide,
    "Mod": limits.modulo,
    "Pow": limits.power,
}
_signature = functools.cache(inspect.signature)
_CALL_HINT = "a template calls nothing: use a filter, like {{ x | upper }}, or index with [...]"


class _Compiler:
    """One walk over one tree: closures out, references noted on the way."""

    def __init__(self) -> None:
        self.references: list[Reference] = []
        self.computes = False

    def node(self, node: Any) -> Evaluate:
        kind = type(node).__name__
        self.computes = self.computes or kind not in ("Name", "Getattr", "Getitem", "Const")
        if kind in _OPERATORS:
            return self._binary(node, _OPERATORS[kind])
        method = getattr(self, f"_{kind.lower()}", None)
        if method is None:
            raise TemplateFault(f"{kind} has no place in an expression")
        found: Evaluate = method(node)
        return found

    def _const(self, node: Any) -> Evaluate:
        value = node.value
        return lambda _: value

    def _binary(self, node: Any, function: Callable[[Any, Any, Meter], Any]) -> Evaluate:
        left, right = self.node(node.left), self.node(node.right)
        return lambda frame: function(left(frame), right(frame), frame.meter)

    # --- names and paths ---

    def _name(self, node: Any) -> Evaluate:
        return self._reading(node)

    _getattr = _getitem = _name

    def _reading(self, node: Any) -> Evaluate:
        """Compile a name with everything that hangs on it, noting what it reads."""
        steps: list[Any] = []  # outermost last
        while type(node).__name__ in ("Getattr", "Getitem"):
            steps.append(node)
            node = node.node
        steps.reverse()
        literal: list[str | int] = []
        while steps and (key := _literal_key(steps[0])) is not None:
            literal.append(key)
            steps.pop(0)
        if type(node).__name__ == "Name":
            path = (str(node.name), *literal)
            self.references.append(_reference(path, dynamic=bool(steps)))
            real = ("inputs", *literal) if path[0] == "parameters" else path
            found: Evaluate = lambda frame: walk(frame.scope, real)  # noqa: E731
        else:
            inner, keys = self.node(node), tuple(literal)
            found = inner if not keys else (lambda frame: _follow(inner(frame), keys))
        for step in steps:
            found = self._step(found, step)
        return found

    def _step(self, inner: Evaluate, step: Any) -> Evaluate:
        if (key := _literal_key(step)) is not None:
            return lambda frame: _follow(inner(frame), (key,))
        if type(step.arg).__name__ == "Slice":
            return self._slice_of(inner, step.arg)
        argument = self.node(step.arg)
        return lambda frame: _follow(inner(frame), (argument(frame),))

    def _slice_of(self, inner: Evaluate, node: Any) -> Evaluate:
        bounds = [
            self.node(part) if part is not None else (lambda _: None) for part in (node.start, node.stop, node.step)
        ]

        def evaluate(frame: Frame) -> Any:
            value = inner(frame)
            if not isinstance(value, (list, tuple, str)):
                raise TemplateFault(f"{kind_of(value)} cannot be sliced")
            frame.meter.parts(value)
            return value[slice(*(bound(frame) for bound in bounds))]

        return evaluate

    # --- literals ---

    def _list(self, node: Any) -> Evaluate:
        items = [self.node(item) for item in node.items]

        def evaluate(frame: Frame) -> list[Any]:
            frame.meter.items(len(items))
            return [item(frame) for item in items]

        return evaluate

    _tuple = _list

    def _dict(self, node: Any) -> Evaluate:
        pairs = [(self.node(pair.key), self.node(pair.value)) for pair in node.items]

        def evaluate(frame: Frame) -> dict[Any, Any]:
            frame.meter.items(len(pairs))
            return {key(frame): value(frame) for key, value in pairs}

        return evaluate

    # --- logic ---

    def _condexpr(self, node: Any) -> Evaluate:
        test, then = self.node(node.test), self.node(node.expr1)
        other = self.node(node.expr2) if node.expr2 is not None else _no_else
        return lambda frame: then(frame) if test(frame) else other(frame)

    def _and(self, node: Any) -> Evaluate:
        left, right = self.node(node.left), self.node(node.right)
        return lambda frame: left(frame) and right(frame)

    def _or(self, node: Any) -> Evaluate:
        left, right = self.node(node.left), self.node(node.right)
        return lambda frame: left(frame) or right(frame)

    def _not(self, node: Any) -> Evaluate:
        inner = self.node(node.node)
        return lambda frame: not inner(frame)

    def _neg(self, node: Any) -> Evaluate:
        return self._sign(node, operator.neg)

    def _pos(self, node: Any) -> Evaluate:
        return self._sign(node, operator.pos)

    def _sign(self, node: Any, sign: Callable[[Any], Any]) -> Evaluate:
        inner = self.node(node.node)

        def evaluate(frame: Frame) -> Any:
            value = inner(frame)
            if not isinstance(value, limits.SIGNED):
                raise TemplateFault(f"expected a number, got {kind_of(value)}")
            return sign(value)

        return evaluate

    def _compare(self, node: Any) -> Evaluate:
        first = self.node(node.expr)
        rest = [(_comparison(operand.op), self.node(operand.expr)) for operand in node.ops]

        def evaluate(frame: Frame) -> bool:
            left = first(frame)
            for holds, other in rest:
                right = other(frame)
                if not holds(frame.meter, left, right):
                    return False
                left = right
            return True

        return evaluate

    def _concat(self, node: Any) -> Evaluate:
        parts = [self.node(part) for part in node.nodes]
        return lambda frame: "".join([limits.text_of(part(frame), frame.meter) for part in parts])

    # --- filters, tests, functions ---

    def _filter(self, node: Any) -> Evaluate:
        function = filters.FILTERS.get(node.name)
        if function is None:
            raise TemplateFault(_unknown("filter", node.name, filters.FILTERS))
        inner = self.node(node.node)
        call = self._arguments(node, function, f"filter {node.name}", extra=1)
        if node.name in ("default", "d"):
            return self._default(inner, node, call)
        return lambda frame: call(frame, inner(frame))

    def _default(self, inner: Evaluate, node: Any, call: Callable[..., Any]) -> Evaluate:
        named = {item.key: item.value for item in node.kwargs}
        given = node.args[0] if node.args else named.get("default_value")
        otherwise: Evaluate = self.node(given) if given is not None else lambda _: ""

        def evaluate(frame: Frame) -> Any:
            try:
                value = inner(frame)
            except Missing:
                return otherwise(frame)
            return call(frame, value)

        return evaluate

    def _test(self, node: Any) -> Evaluate:
        function = filters.TESTS.get(node.name)
        if function is None:
            raise TemplateFault(_unknown("test", node.name, filters.TESTS))
        inner = self.node(node.node)
        call = self._arguments(node, function, f"test {node.name}", extra=1)
        if node.name not in ("defined", "undefined"):
            return lambda frame: call(frame, inner(frame))
        if_missing = bool(node.name == "undefined")

        def evaluate(frame: Frame) -> bool:
            try:
                inner(frame)
            except Missing:
                return if_missing
            return not if_missing

        return evaluate

    def _call(self, node: Any) -> Evaluate:
        name = node.node.name if type(node.node).__name__ == "Name" else None
        function = filters.FUNCTIONS.get(str(name))
        if function is None:
            raise TemplateFault(_CALL_HINT)
        return self._arguments(node, function, str(name), extra=0)

    def _arguments(self, node: Any, function: Callable[..., Any], what: str, *, extra: int) -> Callable[..., Any]:
        """Return a function of the frame (and the value) that calls ``function`` with the node's arguments."""
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            raise TemplateFault(f"{what}: arguments are written out, without * and **")
        args = [self.node(item) for item in node.args]
        named = {str(item.key): self.node(item.value) for item in node.kwargs}
        try:
            _signature(function).bind(*range(1 + extra + len(args)), **named)
        except TypeError as error:
            raise TemplateFault(f"{what}: {error}") from None

        def call(frame: Frame, *value: Any) -> Any:
            given = [item(frame) for item in args]
            try:
                return function(frame.meter, *value, *given, **{key: item(frame) for key, item in named.items()})
            except (TypeError, AttributeError) as error:
                raise TemplateFault(f"{what}: {error}") from None

        return call


def _literal_key(node: Any) -> str | int | None:
    """Return the key of ``.key``, ``['key']`` or ``[0]``; None if it is computed."""
    if type(node).__name__ == "Getattr":
        return str(node.attr)
    argument = node.arg
    if type(argument).__name__ == "Const" and type(argument.value) in (str, int):
        key: str | int = argument.value
        return key
    return None


def _follow(value: Any, keys: tuple[Any, ...]) -> Any:
    for key in keys:
        try:
            value = filters.lookup(value, key)
        except Missing:
            raise Missing(f"{kind_of(value)} has no {key!r}") from None
    return value


def _no_else(frame: Frame) -> Any:  # noqa: ARG001
    raise Missing("the condition does not hold, and there is no else")


def _comparison(name: str) -> Callable[[Meter, Any, Any], bool]:
    if name == "in":
        return filters.contains
    if name == "notin":
        return lambda meter, value, seq: not filters.contains(meter, value, seq)
    return filters.compare({"lteq": "le", "gteq": "ge"}.get(name, name))


def _unknown(what: str, name: str, known: Mapping[str, Any]) -> str:
    hint = did_you_mean(name, known)
    return f"no {what} named {name!r}" + (f"; {hint}" if hint else "")
