"""YAML to Pipeline: the language, its checks and its templates. Nothing heavy is imported before it is used.

The road for tasks built in Python is ``orchestrator.compiler.build.build``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.compiler.compile import compile_dict, compile_file, compile_text
    from orchestrator.compiler.dump import to_dict, to_yaml
    from orchestrator.compiler.inputs import bind_inputs, parse_input
    from orchestrator.compiler.schema import json_schema
    from orchestrator.compiler.templates import Templates

_HOMES = {
    "Templates": "templates",
    "bind_inputs": "inputs",
    "compile_dict": "compile",
    "compile_file": "compile",
    "compile_text": "compile",
    "json_schema": "schema",
    "parse_input": "inputs",
    "to_dict": "dump",
    "to_yaml": "dump",
}

__all__ = [
    "Templates",
    "bind_inputs",
    "compile_dict",
    "compile_file",
    "compile_text",
    "json_schema",
    "parse_input",
    "to_dict",
    "to_yaml",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
