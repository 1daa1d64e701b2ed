"""Finding the models once for the whole process."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from orchestrator.models import environment
from orchestrator.models.registry import ModelRegistry

if TYPE_CHECKING:
    from orchestrator.models.registry import Model

DEFAULT_MODEL = "ORCHESTRATOR_MODEL"
"""Environment variable: the name of the model to use where a step names none."""

_lock = threading.Lock()
_known: tuple[object, ModelRegistry] | None = None
_local: tuple[Model, ...] | None = None


def init_models(*, find_local: bool = True, refresh: bool = False) -> ModelRegistry:
    """Return the registry of the models that the environment configures or this machine serves.

    Configured are, in this order: those of ORCHESTRATOR_MODELS (a JSON list of `{name, provider, model, base_url,
    key_variable}`, or the path of a file with one), then OpenAI (OPENAI_API_KEY, OPENAI_BASE_URL, OPENAI_MODEL),
    Anthropic (ANTHROPIC_...) and Google (GEMINI_... or GOOGLE_...). With ``find_local`` the usual ports of Ollama, LM
    Studio, llama.cpp and vLLM are asked on 127.0.0.1, all at once, for at most 0.4 seconds.

    Asking again gives the same registry until the environment changes; local servers are asked once in a process,
    and again with ``refresh``. Raise UsageError if ORCHESTRATOR_MODELS cannot be understood.
    """
    global _known, _local  # noqa: PLW0603 - the registry of the process
    with _lock:
        if find_local and (_local is None or refresh):
            from orchestrator.models import local

            _local = local.find()
        models = (*environment.configured(os.environ), *((_local or ()) if find_local else ()))
        default = os.environ.get(DEFAULT_MODEL) or None
        if _known is None or _known[0] != (models, default):
            _known = ((models, default), ModelRegistry(models, default))
        return _known[1]
