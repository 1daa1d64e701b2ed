"""The models that environment variables configure."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UsageError
from orchestrator.models.registry import Model

if TYPE_CHECKING:
    from collections.abc import Mapping

MODELS = "ORCHESTRATOR_MODELS"
"""Environment variable: models as a JSON list, or the path of a file that holds one."""

_PROVIDERS = {
    "openai": ("https://api.openai.com/v1", ("OPENAI",)),
    "anthropic": ("https://api.anthropic.com", ("ANTHROPIC",)),
    "google": ("https://generativelanguage.googleapis.com", ("GEMINI", "GOOGLE")),
}
_FIELDS = {"name", "provider", "model", "base_url", "key_variable"}
_LARGEST_FILE = 1 << 20


def configured(environ: Mapping[str, str]) -> list[Model]:
    """Return the configured models, those of ORCHESTRATOR_MODELS first; raise UsageError if that is malformed."""
    models = _listed(environ.get(MODELS, "").strip())
    for provider, (base_url, prefixes) in _PROVIDERS.items():
        found = _provider(environ, provider, base_url, prefixes)
        if found is not None:
            models.append(found)
    return models


def _provider(environ: Mapping[str, str], provider: str, base_url: str, prefixes: tuple[str, ...]) -> Model | None:
    def first(suffix: str) -> str | None:
        return next((prefix + suffix for prefix in prefixes if environ.get(prefix + suffix)), None)

    key, address, model = first("_API_KEY"), first("_BASE_URL"), first("_MODEL")
    if key is None and address is None:
        return None
    name = environ[model] if model else provider
    url = environ[address] if address else base_url
    return Model(name, provider, _checked_url(url, address or ""), environ[model] if model else None, key)


def _listed(text: str) -> list[Model]:
    if not text:
        return []
    if not text.startswith(("[", "{")):
        text = _file(text)
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{MODELS} is neither JSON nor the path of a file with JSON: {error}") from None
    if not isinstance(entries, list):
        raise UsageError(f"{MODELS} must be a list of models, like {_example()}")
    return [_entry(entry, f"{MODELS}[{index}]") for index, entry in enumerate(entries)]


def _entry(entry: Any, place: str) -> Model:
    if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
        raise UsageError(f"{place} must be a mapping of texts, like {_example()}")
    unknown = sorted(set(entry) - _FIELDS)
    if unknown:
        hint = " (a key is not written here: `key_variable` names the variable that holds it)" if _keys(unknown) else ""
        raise UsageError(f"{place}: no field named {', '.join(unknown)}{hint}; there are {', '.join(sorted(_FIELDS))}")
    name = entry.get("name") or entry.get("model")
    if not name:
        raise UsageError(f"{place}: `name` is missing")
    provider = entry.get("provider", "openai")
    if provider not in (*_PROVIDERS, "ollama"):
        raise UsageError(f"{place}: there is no provider {provider!r}; there are {', '.join(_PROVIDERS)}, ollama")
    url = entry.get("base_url") or _PROVIDERS.get(provider, ("http://127.0.0.1:11434", ()))[0]
    return Model(
        name, provider, _checked_url(url, f"{place}.base_url"), entry.get("model") or name, entry.get("key_variable")
    )


def _keys(names: list[str]) -> bool:
    return any("key" in name or "token" in name for name in names)


def _file(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
    except (OSError, ValueError):
        raise UsageError(f"{MODELS} names no file that can be read, and is no JSON list like {_example()}") from None
    if len(data) > _LARGEST_FILE:
        raise UsageError(f"the file that {MODELS} names is larger than a megabyte")
    return data.decode("utf-8", "replace")


def _checked_url(url: str, place: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise UsageError(f"{place} must be an address that begins with http:// or https://")
    return url


def _example() -> str:
    return '[{"name": "fast", "provider": "openai", "model": "small", "key_variable": "MY_KEY"}]'
