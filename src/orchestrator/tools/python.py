"""Call a function of the project, or of any installed package: its name is the action.

The action names it, the parameters are its keyword arguments::

    - id: clean
      tool: python
      action: "flights.cleaning:drop_cancelled"
      parameters: {table: "{{ load.result }}"}

Modules are looked for in the project folder, after everything that is installed. Which modules may be called can be
narrowed by the environment variable ORCHESTRATOR_ALLOW_MODULES.
"""

# Entries of sys.path are compared as texts, links and all:
# ruff: noqa: PTH100

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import TaskError
from orchestrator.ports.tools import Identity
from orchestrator.tools.decorator import DEFAULT_VERSION, Action, Definition
from orchestrator.tools.names import did_you_mean
from orchestrator.tools.registry import ALLOW_MODULES
from orchestrator.tools.scripts import running_script

if TYPE_CHECKING:
    from types import ModuleType

STEP = "__orchestrator_step__"
"""What stands for a function in a pipeline's definition (`@orc.task`) has it under this name."""
_FORM = re.compile(r"([^\W\d]\w*(?:\.[^\W\d]\w*)*):([^\W\d]\w*(?:\.[^\W\d]\w*)*)")
_found: dict[str, Action] = {}


def make_importable(project: Path | str) -> None:
    """Let modules of the project folder be imported: it goes to the end of sys.path, where it hides nothing."""
    folder = os.path.abspath(project)
    if folder not in (os.path.abspath(entry or ".") for entry in sys.path):
        sys.path.append(folder)


def find(action: str) -> Action:
    """Import the function that ``package.module:function`` names; raise TaskError (kind ``tool``) if it cannot be."""
    known = _found.get(action)
    if known is not None and _allowed(action.partition(":")[0]):
        return known
    function = load(action)
    function = getattr(function, STEP) if hasattr(type(function), STEP) else function
    if not callable(function):
        raise _unusable(f"{action!r} is {type(function).__name__}, not a function")
    _found[action] = made = Action(action, function)
    return made


def load(action: str, what: str = "function") -> Any:
    """Import what ``package.module:name`` names; raise TaskError (kind ``tool``) if it cannot be.

    ``what`` is what messages call it.
    """
    module_name, name = _parts(action)
    return _attribute(_import(module_name), module_name, name, what)


def identify(action: str) -> Identity:
    """Return what calling the function means now, without importing it: the digests of its code.

    Raise TaskError (kind ``tool``) for an action that is no name, or a module that may not be called. A module that
    is not there or is not Python has no code.
    """
    from orchestrator.tools.code import code_of_name

    module_name, name = _parts(action)
    make_importable(Path.cwd())
    return Identity(DEFAULT_VERSION, code_of_name(module_name, name))


def _parts(action: str) -> tuple[str, str]:
    match = _FORM.fullmatch(action)
    if match is None:
        shown = f"not {action!r}" if action else "and there is none"
        raise _unusable(f"the action of tool 'python' is written `package.module:function`, {shown}")
    module_name, name = match.groups()
    if not _allowed(module_name):
        raise _unusable(
            f"module {module_name!r} may not be called: "
            f"{ALLOW_MODULES} allows only {os.environ.get(ALLOW_MODULES) or 'none'}"
        )
    return module_name, name


def _import(name: str) -> ModuleType:
    make_importable(Path.cwd())
    if (script := running_script(name)) is not None:
        return script
    if name not in sys.modules:
        importlib.invalidate_caches()  # the module may have been written a moment ago
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        where = f"neither installed nor in the folder {str(Path.cwd())!r}"
        raise _unusable(f"cannot import {name!r}: there is no module {error.name!r}, {where}") from error
    except (Exception, SystemExit) as error:
        raise _unusable(f"cannot import {name!r}: {type(error).__name__}: {error}{_line(error)}") from error


def _line(error: BaseException) -> str:
    """Return where in the module's own code the import failed."""
    import traceback

    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if len(frames) > 1 else ""


def _attribute(module: ModuleType, module_name: str, name: str, what: str) -> Any:
    value: Any = module
    for part in name.split("."):
        try:
            value = getattr(value, part)
        except AttributeError:
            public = [known for known in dir(value) if not known.startswith("_")]
            hint = did_you_mean(part, public)
            raise _unusable(f"module {module_name!r} has no {what} {name!r}" + (f" ({hint})" if hint else "")) from None
    return value


def _allowed(module: str) -> bool:
    allowed = os.environ.get(ALLOW_MODULES, "*").split(",")
    return any(
        pattern in ("*", module) or module.startswith(pattern.removesuffix(".*") + ".")
        for pattern in (part.strip() for part in allowed)
        if pattern
    )


def _unusable(message: str) -> TaskError:
    return TaskError(message, kind="tool", retryable=False)


DEFINITION = Definition("python", "shipped", find=find, identify=identify)
