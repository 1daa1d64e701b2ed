"""``{{ ... }}`` inside values: found, evaluated once, and put back.

A text that is one single ``{{ expression }}`` becomes the expression's value with its type; any other text with
templates stays text. What a template yields is data: it is never looked at for templates again. A text with
``{{ secrets.NAME }}`` in it becomes a SecretText, in which the name stands: values of secrets never get here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

from orchestrator.compiler.expressions import (
    MAX_EXPRESSION,
    SECRETS,
    Expression,
    Frame,
    Reference,
    compile_expression,
    walk,
)
from orchestrator.compiler.limits import MAX_TEXT, Meter, Missing, TemplateFault, text_of
from orchestrator.domain.secret import SecretText
from orchestrator.domain.words import path_text, shorten
from orchestrator.errors import TaskError

MAX_EXPRESSIONS = 1000
"""About so many expressions can stand in one text."""
CACHED = 4096
"""Compiled texts that are kept; the least recently used go first."""
_TEXT_OR_BRACE = re.compile(
    r"""'(?:[^'\\]|\\.|\\\Z)*(?:'|\Z)|"(?:[^"\\]|\\.|\\\Z)*(?:"|\Z)|[{}]""", re.DOTALL
)  # a text that is not closed reaches to the end, so that the search stays linear


class Text(NamedTuple):
    """A compiled text: literal parts and expressions in turn; ``single`` if it is nothing but one expression.

    ``secret`` tells that some of them are secrets.
    """

    parts: tuple[str | Expression, ...]
    single: Expression | None
    secret: bool = False

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """The expressions in it, in order."""
        return tuple(part for part in self.parts if isinstance(part, Expression))


class Templates:
    """The language's Renderer (see ``ports.renderer``): stateless, safe to share between threads.

    >>> scope = {"inputs": {"limit": 3}, "fetch": {"result": {"rows": [1, 2]}}}
    >>> Templates().render({"n": "{{ inputs.limit }}", "t": "{{ fetch.result.rows | length }} rows"}, scope)
    {'n': 3, 't': '2 rows'}
    """

    def render(self, value: Any, scope: Mapping[str, Any]) -> Any:
        """Return a copy of ``value`` with every template replaced; keys of mappings stay as they are.

        Raises TaskError (kind ``template``, not retryable) naming the expression and what was missing. The copy
        shares no list or mapping with ``value`` or with ``scope``. One call may cost ``limits.MAX_WORK``.
        """
        try:
            return _render(value, Frame(scope, Meter()))
        except RecursionError:
            raise _error("a value is nested too deeply") from None

    def secrets(self, value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """Yield path and name of every secret that the templates in ``value`` name."""
        return secrets_in(value)

    def truth(self, condition: str, scope: Mapping[str, Any]) -> bool:
        """Evaluate a condition, with or without the braces around it; the usual truth of the value it yields."""
        expression = _for_task(condition, compile_condition)
        return bool(_evaluate(expression, Frame(scope, Meter()), lambda value, _: bool(value)))

    def evaluate(self, expression: str, scope: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return what an expression yields, with or without braces, and what it read: references as they are written.

        >>> Templates().evaluate("a.result > 2", {"a": {"result": 3}})
        (True, {'a.result': 3})
        """
        compiled = _for_task(expression, compile_condition)
        frame = Frame(scope, Meter())
        value = _evaluate(compiled, frame, _copy)
        reads = {}
        for reference in compiled.references:
            with suppress(Missing):  # it was not needed, then
                reads[path_text(reference.path)] = walk(scope, reference.path)
        return value, reads


def is_template(value: Any) -> bool:
    """Tell whether ``value`` is a text with templates in it."""
    return isinstance(value, str) and "{{" in value


@lru_cache(maxsize=CACHED)
def compile_text(text: str) -> Text:
    """Compile a text with templates; raise TemplateFault saying what is wrong with it."""
    parts: list[str | Expression] = []
    for part, is_expression in _split(text):
        if is_expression:
            parts.append(_compile(part))
            if len(parts) > 2 * MAX_EXPRESSIONS:
                raise TemplateFault(f"more than {MAX_EXPRESSIONS:,} expressions in one text")
        else:
            _check_literal(part)
            parts.append(part)
    single = parts[0] if len(parts) == 1 and isinstance(parts[0], Expression) else None
    return Text(tuple(parts), single, any(isinstance(part, Expression) and part.secret for part in parts))


@lru_cache(maxsize=CACHED)
def compile_condition(text: str) -> Expression:
    """Compile a condition, with or without braces; raise TemplateFault saying what is wrong with it."""
    if "{{" not in text:
        _check_literal(text)
        return _compile(text)
    compiled = compile_text(text.strip())
    if compiled.single is None:
        raise TemplateFault("a condition is one expression: write all of it inside one pair of braces, or without any")
    return compiled.single


def secrets_in(value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield path and name of every secret that the templates in ``value`` name, in order."""
    if not _mentions_secrets(value):  # as hardly any step does, and there may be many
        return
    for path, text in texts_of(value):
        if SECRETS in text:
            for expression in compile_text(text).expressions:
                if expression.secret is not None:
                    yield path, expression.secret


def texts_of(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield path and text of every text in ``value`` that may hold templates, in order."""
    if type(value) is str:
        if "{{" in value or "{%" in value or "{#" in value:
            yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts_of(item, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from texts_of(item, (*path, index))


def references(value: Any) -> set[Reference]:
    """Return what the templates in ``value`` read; raise TemplateFault if one of them cannot be read.

    >>> sorted(references(["{{ inputs.limit }}", "{{ steps['a-b'].result.x }}"]))
    [Reference(path=('a-b', 'result', 'x'), dynamic=False), Reference(path=('inputs', 'limit'), dynamic=False)]
    """
    return {
        reference
        for _, text in texts_of(value)
        for expression in compile_text(text).expressions
        for reference in expression.references
    }


def evaluate_constant(expression: Expression, meter: Meter) -> None:
    """Evaluate an expression that reads nothing; raise TaskError if it fails, as it would in every run."""
    _evaluate(expression, Frame({}, meter), _copy)


def _mentions_secrets(value: Any) -> bool:
    kind = type(value)
    if kind is str:
        return SECRETS in value
    if kind is dict or (kind is not list and isinstance(value, Mapping)):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return False
    return any(map(_mentions_secrets, value))


def _compile(text: str) -> Expression:
    try:
        return compile_expression(text)
    except TemplateFault as error:
        raise TemplateFault(f"{{{{ {shorten(text.strip())} }}}}: {error}") from None


def _split(text: str) -> Iterator[tuple[str, bool]]:
    """Yield the parts of a text: (literal, False) and (expression, True)."""
    start = 0
    while (opened := text.find("{{", start)) >= 0:
        if opened > start:
            yield text[start:opened], False
        end = _end(text, opened + 2)
        if end < 0:
            within = f" within {MAX_EXPRESSION:,} characters" if len(text) - opened > MAX_EXPRESSION else ""
            raise TemplateFault(
                f"{shorten(text[opened:])!r} is not closed by }}}}{within}; "
                "a text that holds two braces is written {{ '{{' }}"
            )
        yield text[opened + 2 : end], True
        start = end + 2
    if start < len(text):
        yield text[start:], False


def _end(text: str, start: int) -> int:
    """Return where the ``}}`` of an expression stands that begins at ``start``; -1 if nowhere."""
    depth = 0
    for found in _TEXT_OR_BRACE.finditer(text, start, start + MAX_EXPRESSION + 2):
        if found[0] == "{":
            depth += 1
        elif found[0] == "}":
            if depth:
                depth -= 1
            elif text.startswith("}}", found.start()):
                return found.start()
    return -1


def _check_literal(text: str) -> None:
    if found := _between(text, "{%", "%}"):
        raise TemplateFault(
            f"statements like {shorten(found)!r} are not part of the language; "
            "use an expression, {{ a if b else c }}, or a condition"
        )
    if found := _between(text, "{#", "#}"):
        raise TemplateFault(f"comments like {shorten(found)!r} are not part of the language; use YAML's #")


def _between(text: str, opening: str, closing: str) -> str | None:
    start = text.find(opening)
    end = text.find(closing, start + 2) if start >= 0 else -1
    return text[start : end + 2] if end >= 0 else None


def _render(value: Any, frame: Frame) -> Any:
    kind = type(value)
    if kind is str:
        return _render_text(value, frame) if "{{" in value else value
    if kind is dict or isinstance(value, Mapping):
        return {key: _render(item, frame) for key, item in value.items()}
    if kind is list:
        return [_render(item, frame) for item in value]
    if kind is tuple:
        return tuple([_render(item, frame) for item in value])
    return value


def _render_text(text: str, frame: Frame) -> Any:
    compiled = _for_task(text, compile_text)
    if compiled.secret:
        return _with_secrets(text, compiled, frame)
    if compiled.single is not None:
        return _evaluate(compiled.single, frame, _copy_read if compiled.single.is_path else _copy)
    parts = []
    length = 0
    for part in compiled.parts:
        done = part if isinstance(part, str) else _evaluate(part, frame, text_of)
        length += len(done)
        if length > MAX_TEXT:
            raise _error(f"{shorten(text)}: the text becomes longer than {MAX_TEXT:,} characters")
        parts.append(done)
    return "".join(parts)


def _with_secrets(text: str, compiled: Text, frame: Frame) -> SecretText:
    """Render all of a text but its secrets: they stay names until the call."""
    found = [""]
    length = 0
    for part in compiled.parts:
        if isinstance(part, Expression) and part.secret is not None:
            found += [part.secret, ""]
            continue
        done = part if isinstance(part, str) else _evaluate(part, frame, text_of)
        length += len(done)
        if length > MAX_TEXT:
            raise _error(f"{shorten(text)}: the text becomes longer than {MAX_TEXT:,} characters")
        found[-1] += done
    return SecretText(tuple(found))


def _for_task(text: str, compiler: Any) -> Any:
    try:
        return compiler(text)
    except TemplateFault as error:
        raise _error(str(error)) from None


def _evaluate(expression: Expression, frame: Frame, finish: Callable[[Any, Meter], Any]) -> Any:
    try:
        return finish(expression.evaluate(frame), frame.meter)
    except TemplateFault as error:
        reason = str(error)
    except RecursionError:
        reason = "a value is nested too deeply"
    except ZeroDivisionError:
        reason = "division by zero"
    except (ArithmeticError, TypeError, ValueError, LookupError, AttributeError, MemoryError) as error:
        reason = str(error) or type(error).__name__
    raise _error(f"{{{{ {shorten(expression.text)} }}}}: {reason}")


def _copy(value: Any, meter: Meter) -> Any:
    """Copy what was computed, and pay for it: ``[[0] * 1000] * 1000`` is small until it is copied."""
    kind = type(value)
    if kind is dict:
        meter.items(len(value))
        return {key: _copy(item, meter) for key, item in value.items()}
    if kind is list:
        meter.items(len(value))
        return [_copy(item, meter) for item in value]
    if kind is str and len(value) > MAX_TEXT:
        raise TemplateFault(f"the text becomes longer than {MAX_TEXT:,} characters")
    return value


def _copy_read(value: Any, _: Meter | None = None) -> Any:
    """Copy what was only read, however large, so that who changes a parameter changes nobody's result."""
    kind = type(value)
    if kind is dict:
        return {key: _copy_read(item) for key, item in value.items()}
    if kind is list:
        return [_copy_read(item) for item in value]
    return value


def _error(message: str) -> TaskError:
    return TaskError(message, kind="template", retryable=False)
