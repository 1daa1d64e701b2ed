"""Which code of the project a function is: digests of its source and of all that this refers to.

Told from the files as they are now, by their syntax trees; nothing of the project is imported or run. What another
part of the project gives a function while it runs (arguments, monkey patches, names made up at run time) is not seen.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sys
from typing import TYPE_CHECKING, Any

from orchestrator.tools.modules import Source, Where, is_own, source_of, where_is
from orchestrator.tools.references import Import, local_imports

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from orchestrator.tools.references import Chain, Unit

_MOST_HOPS = 100  # a name imported from one module that imported it from another, and so on


def code_of_name(module: str, name: str) -> dict[str, str]:
    """Return the digests for ``module:name``, the function imported or not; empty if it is not the project's."""
    survey = _Survey()
    survey.refer(module, tuple(name.split(".")))
    return survey.digests()


def code_of(function: Callable[..., Any]) -> dict[str, str]:
    """Return the digests for a function, a method, or an object that can be called; empty if it is not the project's.

    What has no source of its own (a lambda, code made at run time) is told by its bytecode.
    """
    survey = _Survey()
    plain: Any = function
    while isinstance(plain, functools.partial):
        plain = plain.func
    owner = getattr(plain, "__self__", None)
    if owner is None and not hasattr(plain, "__qualname__"):
        owner, plain = plain, getattr(type(plain), "__call__", None)  # noqa: B004 - an object that is called
    if owner is not None:
        kind = owner if isinstance(owner, type) else type(owner)
        survey.begin(kind)
    survey.begin(getattr(plain, "__func__", plain))
    return survey.digests()


class _Survey:
    """One look around from a function; each module is looked up once."""

    def __init__(self) -> None:
        self._modules: dict[str, tuple[Where | None, Source | None]] = {}
        self._units: dict[tuple[str, str], Unit] = {}
        self._waiting: list[tuple[Source, Unit]] = []
        self._codes: dict[str, str] = {}
        self._referred: set[tuple[str, Chain]] = set()
        self._starred: dict[tuple[str, Chain], bool] = {}

    def begin(self, target: Any) -> None:
        """Begin at a live function or class."""
        module = _module_name(getattr(target, "__module__", None))
        name, _, inner = getattr(target, "__qualname__", "").partition(".")
        source = self._module(module)[1]
        if source is not None and name in source.units and not inner.endswith("<lambda>"):
            self._take(source, name)
            return
        code = getattr(target, "__code__", None)
        if code is None or _is_foreign(code):
            return
        self._codes[f"{module}:{getattr(target, '__qualname__', code.co_name)}"] = _of_bytecode(code)
        for told in code.co_names if source is not None else ():
            if source is not None and (told in source.units or told in source.imports):
                self.refer(module, (told,))

    def digests(self) -> dict[str, str]:
        """Follow everything that is referred to, and return the digests by ``module:name``, sorted."""
        while self._waiting:
            source, unit = self._waiting.pop()
            chains, statements = unit.refers
            inner, _ = local_imports(statements, source.name, package=source.package)
            for chain in chains:
                for each in inner.get(chain[0], ()):
                    self._import(each, chain[1:])
                if chain[0] not in inner and (chain[0] in source.units or chain[0] in source.imports or source.stars):
                    self._look(source, chain, whole=False)
        found = dict(self._codes)
        for (module, name), unit in self._units.items():
            for suffix, digest in unit.digests.items():
                found[f"{module}:{name}{suffix}"] = digest
        return dict(sorted(found.items()))

    def refer(self, module: str, chain: Chain, hops: int = 0) -> bool:
        """Take what a module's attribute stands for, the whole module if that cannot be told.

        Tell whether there is such a module of the project, or such a name in one.
        """
        if (module, chain) in self._referred:
            return True
        where, source = self._module(module)
        if where is None or hops > _MOST_HOPS:
            return False
        self._referred.add((module, chain))
        if source is None:  # installed, or a mere folder of modules
            return bool(chain) and where.file is None and self.refer(f"{module}.{chain[0]}", chain[1:], hops + 1)
        return self._look(source, chain, whole=True, hops=hops)

    def _look(self, source: Source, chain: Chain, *, whole: bool, hops: int = 0) -> bool:
        if chain and chain[0] in source.units:
            self._take(source, chain[0])
        if chain and chain[0] in source.imports:
            for each in source.imports[chain[0]]:
                self._import(each, chain[1:], hops + 1)
            return True
        if chain and chain[0] in source.units:
            return True
        if chain and source.package and self.refer(f"{source.name}.{chain[0]}", chain[1:], hops + 1):
            return True
        if chain and any(self._has(star, chain, hops + 1) for star in source.stars):
            return True
        if whole:
            for name in source.units:
                self._take(source, name)
            self._take(source, "*")
        return whole

    def _has(self, module: str, chain: Chain, hops: int) -> bool:
        key = (module, chain)
        if key not in self._starred:
            self._starred[key] = False  # should it be asked again on the way
            source = self._module(module)[1]
            known = source is not None and hops <= _MOST_HOPS
            self._starred[key] = known and source is not None and self._look(source, chain, whole=False, hops=hops)
        return self._starred[key]

    def _import(self, each: Import, chain: Chain, hops: int = 0) -> None:
        attributes = chain if each.attribute is None else (each.attribute, *chain)
        self.refer(each.module, attributes, hops)

    def _take(self, source: Source, name: str) -> None:
        key = (source.name, name)
        if key not in self._units:
            unit = self._units[key] = source.rest if name == "*" else source.units[name]
            self._waiting.append((source, unit))

    def _module(self, name: str) -> tuple[Where | None, Source | None]:
        known = self._modules.get(name)
        if known is None:
            where = _main() if name == _main_name() else where_is(name)
            own = where is not None and where.file is not None and is_own(where.file)
            source = source_of(name, where.file) if own and where is not None and where.file is not None else None
            known = self._modules[name] = (where, source)
        return known


def _module_name(name: Any) -> str:
    """Return a module's name; the script that was started is called as whoever imports it calls it."""
    return (_main_name() if name == "__main__" else name) or ""


def _main_name() -> str | None:
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return str(spec.name)
    file = getattr(main, "__file__", None)
    return None if file is None else os.path.splitext(os.path.basename(file))[0]  # noqa: PTH119, PTH122


def _main() -> Where | None:
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return None if file is None else Where(os.path.abspath(file))  # noqa: PTH100


def _is_foreign(code: CodeType) -> bool:
    file = os.path.abspath(code.co_filename)  # noqa: PTH100
    return file.endswith(".py") and os.path.exists(file) and not is_own(file)  # noqa: PTH110


def _of_bytecode(code: CodeType) -> str:
    hasher = hashlib.blake2b(digest_size=8)
    waiting = [code]
    while waiting:
        each = waiting.pop()
        hasher.update(each.co_code)
        hasher.update(repr((each.co_names, each.co_varnames, each.co_freevars, each.co_argcount)).encode())
        for constant in each.co_consts:
            if isinstance(constant, type(code)):
                waiting.append(constant)
            else:
                shown = sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant
                hasher.update(repr(shown).encode("utf-8", "surrogatepass"))
    return hasher.hexdigest()
