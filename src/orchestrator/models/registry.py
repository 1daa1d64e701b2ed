"""The registry of AI models."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Model:
    """A model and how to reach it.

    ``name`` is what a pipeline calls it. ``provider`` tells the protocol: ``openai`` (and whatever speaks like it),
    ``anthropic``, ``google`` or ``ollama``. ``model`` is what the provider calls it; None where the environment gives
    a key but names no model. ``key_variable`` is the environment variable that holds the key, None if none is needed.
    ``local`` is true for a model found on this machine.
    """

    name: str
    provider: str
    base_url: str
    model: str | None = None
    key_variable: str | None = None
    local: bool = False

    def key(self) -> str | None:
        """Return the key as the environment has it now (None: none is needed); raise UsageError if it is gone."""
        if self.key_variable is None:
            return None
        value = os.environ.get(self.key_variable)
        if not value:
            raise UsageError(f"model {self.name!r} needs a key: set the environment variable {self.key_variable}")
        return value

    def __repr__(self) -> str:
        key = f", key_variable={self.key_variable!r}" if self.key_variable else ""
        return f"Model({self.name!r}, {self.provider}, {shown_url(self.base_url)}{key})"


class ModelRegistry(Mapping[str, Model]):
    """The models by name, in the order of preference.

    ``default`` is the one that ORCHESTRATOR_MODEL names, else the first; None if there is none.
    """

    def __init__(self, models: Iterable[Model] = (), default: str | None = None) -> None:
        self._models: dict[str, Model] = {}
        for model in models:
            name = model.name if model.name not in self._models else f"{model.provider}/{model.name}"
            if name not in self._models:
                self._models[name] = model if name == model.name else _renamed(model, name)
        self._default = default

    def __getitem__(self, name: str) -> Model:
        return self._models[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)

    def __repr__(self) -> str:
        return f"ModelRegistry({list(self._models)})"

    @property
    def names(self) -> list[str]:
        """The names, in the order of preference."""
        return list(self._models)

    @property
    def default(self) -> Model | None:
        """The model to use where none is named; raise UsageError if the one wanted is not there."""
        if self._default is not None:
            return self.pick(self._default)
        return next(iter(self._models.values()), None)

    def pick(self, name: str | None = None) -> Model:
        """Return the model of this name (None: the default); raise UsageError telling what there is."""
        if name is None:
            found = self.default
            if found is None:
                raise UsageError(
                    "no AI model is configured: set OPENAI_API_KEY, ANTHROPIC_API_KEY, GEMINI_API_KEY or "
                    "ORCHESTRATOR_MODELS, or start a local server such as Ollama"
                )
            return found
        if name in self._models:
            return self._models[name]
        import difflib

        near = difflib.get_close_matches(name, self._models, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise UsageError(f"there is no model {name!r}{hint}; there are {', '.join(self._models) or 'none'}")


def shown_url(url: str) -> str:
    """Return an address without what may be a secret in it: user, password and query."""
    scheme, separator, rest = url.partition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{separator}{host.rpartition('@')[2]}{slash}{path}".partition("?")[0]


def _renamed(model: Model, name: str) -> Model:
    from dataclasses import replace

    return replace(model, name=name)
