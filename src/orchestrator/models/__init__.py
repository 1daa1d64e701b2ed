"""AI models: those that the environment configures, and those found on this machine.

`init_models()` works with none. It prints nothing, opens no connection beyond the loopback interface, and keeps no
key: an entry knows the name of the variable that holds it.
"""

from orchestrator.models.discovery import init_models
from orchestrator.models.registry import Model, ModelRegistry

__all__ = ["Model", "ModelRegistry", "init_models"]
