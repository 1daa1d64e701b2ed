"""What a piece of source is and refers to, told from its syntax tree.

Comments, docstrings and layout are not in what is compared; decorators, defaults and annotations are; all but the
decorator that only says how a step runs.
"""

from __future__ import annotations

import ast
import hashlib
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Chain = tuple[str, ...]
"""A name and the attributes taken of it: ``helpers.f.x`` is ``("helpers", "f", "x")``."""

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SILENT = frozenset({"ctx", "kind", "type_comment", "type_ignores"})


class Import(NamedTuple):
    """What an import gave a name: a module (``attribute`` None), or something that a module has."""

    module: str
    attribute: str | None = None


class Unit:
    """The statements behind one module-level name."""

    def __init__(self, nodes: Sequence[ast.stmt]) -> None:
        self.nodes = nodes

    @cached_property
    def digests(self) -> dict[str, str]:
        """Digests by what is to be put behind the name: ``""`` for itself, ``.method`` for each function of a class."""
        if len(self.nodes) != 1 or not isinstance(self.nodes[0], ast.ClassDef):
            return {"": _digest(self.nodes)}
        owner = self.nodes[0]
        methods: dict[str, list[ast.stmt]] = {}
        rest: list[ast.stmt] = []
        for part in owner.body:
            if isinstance(part, (ast.FunctionDef, ast.AsyncFunctionDef)):
                methods.setdefault(f".{part.name}", []).append(part)
            else:
                rest.append(part)
        bare = ast.ClassDef(**{**dict(ast.iter_fields(owner)), "body": rest})
        return {"": _digest([bare])} | {name: _digest(parts) for name, parts in methods.items()}

    @cached_property
    def refers(self) -> tuple[frozenset[Chain], tuple[ast.stmt, ...]]:
        """The global names in it, and the imports written inside its functions and classes."""
        chains: set[Chain] = set()
        imports: list[ast.stmt] = []
        for node in self.nodes:
            _read(node, chains, imports)
        return frozenset(chains), tuple(imports)


def local_imports(
    statements: Iterable[ast.stmt], name: str, *, package: bool
) -> tuple[dict[str, list[Import]], list[str]]:
    """Return what imports among these statements of module ``name`` give to names, and what is imported with ``*``.

    Several imports of one name (``try: ... except ImportError: ...``) all count.
    """
    found: dict[str, list[Import]] = {}
    stars: list[str] = []
    for node in _of_scope(statements):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                found.setdefault(bound, []).append(Import(alias.name if alias.asname else bound))
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, name, package=package)
            for alias in node.names:
                if alias.name == "*":
                    stars.append(module)
                else:
                    found.setdefault(alias.asname or alias.name, []).append(Import(module, alias.name))
    return found, stars


def without_options(statements: Iterable[ast.stmt], imports: Mapping[str, Sequence[Import]]) -> None:
    """Take ``@task(...)`` of this package off the functions: how a step is retried is no part of what it computes."""
    for node in statements:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.decorator_list = [each for each in node.decorator_list if not _is_task(each, imports)]


def _is_task(decorator: ast.expr, imports: Mapping[str, Sequence[Import]]) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    match called:
        case ast.Attribute(ast.Name(module), "task"):
            return Import("orchestrator") in imports.get(module, ())
        case ast.Name(name):
            return Import("orchestrator", "task") in imports.get(name, ())
        case _:
            return False


def told_names(statement: ast.stmt) -> set[str]:
    """Return the names that a module-level statement gives something to, or calls a method of (``TABLE.update()``)."""
    names: set[str] = set()
    for node in _of_scope([statement]):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) and not isinstance(node.ctx, ast.Load):
            names |= _root(node)
        elif (
            isinstance(node, ast.Expr)
            and isinstance(node.value, ast.Call)
            and isinstance(node.value.func, ast.Attribute)
        ):
            names |= _root(node.value.func)
    return names


def _absolute(node: ast.ImportFrom, name: str, *, package: bool) -> str:
    if not node.level:
        return node.module or ""
    parts = name.split(".")
    kept = parts[: len(parts) - node.level + (1 if package else 0)]
    return ".".join([*kept, *([node.module] if node.module else [])])


def _root(node: ast.AST) -> set[str]:
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def _of_scope(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Walk over trees, yielding functions, classes and comprehensions but not what is in them."""
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (*_FUNCTIONS, *_COMPREHENSIONS, ast.ClassDef)):
            waiting += ast.iter_child_nodes(node)


def _body(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> Sequence[ast.AST]:
    return function.body if isinstance(function.body, list) else [function.body]


def _read(top: ast.AST, chains: set[Chain], imports: list[ast.stmt]) -> None:
    """Collect what is read of names that no function around binds."""
    waiting: list[tuple[ast.AST, frozenset[str], bool]] = [(top, frozenset(), False)]
    while waiting:
        node, bound, inside = waiting.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)) and inside:
            imports.append(node)
        elif isinstance(node, (ast.Attribute, ast.Name)):
            chain, base = _chain(node)
            if chain is None:
                waiting.append((base, bound, inside))
            elif chain[0] not in bound:
                chains.add(chain)
        elif isinstance(node, _FUNCTIONS):
            inner = bound | _bound(node)
            body = _body(node)
            waiting += [(part, inner, True) for part in body]
            waiting += [(part, bound, inside) for part in ast.iter_child_nodes(node) if part not in body]
        elif isinstance(node, _COMPREHENSIONS):
            inner = bound | {
                name.id for part in node.generators for name in ast.walk(part.target) if isinstance(name, ast.Name)
            }
            waiting += [(part, inner, inside) for part in ast.iter_child_nodes(node)]
        else:
            deeper = inside or isinstance(node, ast.ClassDef)
            waiting += [(part, bound, deeper) for part in ast.iter_child_nodes(node)]


def _chain(node: ast.Attribute | ast.Name) -> tuple[Chain | None, ast.AST]:
    names: list[str] = []
    base: ast.AST = node
    while isinstance(base, ast.Attribute):
        names.append(base.attr)
        base = base.value
    if not isinstance(base, ast.Name):
        return None, base
    return (base.id, *reversed(names)), base


def _bound(function: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> set[str]:
    """Return the names that are a function's own: parameters and what it assigns; imports are looked at apart."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    names = {argument.arg for argument in every if argument is not None}
    shared: set[str] = set()
    for node in _of_scope(_body(function)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            names.add(node.name)
        elif isinstance(node, ast.Global):
            shared |= set(node.names)
    return names - shared


def _digest(nodes: Sequence[ast.AST]) -> str:
    """Return a digest of trees that is the same under every version of Python that parses them alike."""
    parts: list[str] = []
    waiting: list[object] = list(reversed(nodes))
    while waiting:
        item = waiting.pop()
        if isinstance(item, ast.AST):
            parts.append(f"({type(item).__name__}")
            waiting.append(_END)
            for name, value in reversed(list(ast.iter_fields(item))):
                if value is None and not isinstance(item, ast.Constant):
                    continue
                shown = _without_texts(value) if isinstance(value, list) and name.endswith("body") else value
                if name not in _SILENT and shown != []:
                    waiting += (shown, _Word(name))
        elif isinstance(item, list):
            parts.append("[")
            waiting += (_CLOSE, *reversed(item))
        elif isinstance(item, _Word):
            parts.append(item)
        else:
            parts.append(f"{type(item).__name__}:{item!r}")
    return hashlib.blake2b(" ".join(parts).encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


class _Word(str):
    """A word of the digest's own, not of the source."""

    __slots__ = ()


_END, _CLOSE = _Word(")"), _Word("]")


def _without_texts(body: list[ast.AST]) -> list[ast.AST]:
    """Return a body without docstrings and other texts that do nothing; what then is empty passes."""
    kept = [
        part
        for part in body
        if not (
            isinstance(part, ast.Expr) and isinstance(part.value, ast.Constant) and isinstance(part.value.value, str)
        )
    ]
    return kept or ([ast.Pass()] if body else [])
