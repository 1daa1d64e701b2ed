"""A small registry of tools, and what the tests of messages share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from orchestrator.compiler import compile_text
from orchestrator.errors import DefinitionError, TaskError
from orchestrator.ports.tools import Identity, Problem, ToolCall

FILES: dict[str, dict[str, type]] = {"read": {"path": str}, "write": {"path": str, "content": object}}
MIGRATING = {"moving:both": ("old", "kind"), "moving:old": ("old",), "moving:rows": ("rows",)}


class FakeTools:
    """Knows `files` with two actions, three functions, and `noop`, which takes anything."""

    def resolve(self, tool: str, action: str | None) -> ToolCall:
        raise TaskError(f"{tool}.{action} is not called here", kind="tool")

    def identity(self, tool: str, action: str | None) -> Identity:
        return Identity(self.resolve(tool, action).version, {})

    def check(
        self, tool: str, action: str | None, parameters: Mapping[str, Any], is_template: Callable[[Any], bool]
    ) -> list[Problem]:
        if tool == "noop":
            return []
        if tool == "python":
            takes = MIGRATING.get(str(action))
            if takes is None:
                return [Problem(f"module 'moving' has no function {str(action)!r}")]
            return [Problem(f"unknown parameter {name!r}", (name,)) for name in parameters if name not in takes]
        if tool != "files":
            return [Problem(f"no tool named {tool!r}", (), "did you mean 'files'?" if tool == "file" else None)]
        if action not in FILES:
            return [Problem(f"tool 'files' has no action {action!r}", (), "did you mean 'read'?")]
        known = FILES[action]
        found = [Problem(f"unknown parameter {name!r}", (name,)) for name in parameters if name not in known]
        found += [Problem(f"parameter {name!r} is missing") for name in known if name not in parameters]
        for name, value in parameters.items():
            if name in known and not is_template(value) and not isinstance(value, known[name]):
                found.append(Problem("expected text", (name,)))
        return found


def mistakes(text: str | bytes, file: str = "p.yaml") -> list[str]:
    """Return the messages of a text that must not compile."""
    with pytest.raises(DefinitionError) as caught:
        compile_text(text, file=file, tools=FakeTools())
    return str(caught.value).splitlines()
