"""Tools: what a step can do.

A tool has actions, an action is a function. `@tool` makes one; the registry finds, checks and calls them. Importing
this package loads no tool and no library.
"""

from orchestrator.tools.decorator import tool
from orchestrator.tools.registry import ToolRegistry, default_registry

__all__ = ["ToolRegistry", "default_registry", "tool"]
