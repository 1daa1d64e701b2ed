"""The Secrets port, filled: looks a name up in the environment, then in the files, then in the keyring."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from orchestrator.domain.redaction import LEAST, SHORT, Redactor
from orchestrator.domain.secret import SecretUse, reference
from orchestrator.errors import OrchestratorError, SecretsMissing, TaskError, UsageError
from orchestrator.observe.redacting import watch
from orchestrator.secrets import keyring
from orchestrator.secrets.files import SecretFiles
from orchestrator.settings import SECRET_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orchestrator.domain.pipeline import Pipeline, Task
    from orchestrator.ports.codec import Codec
    from orchestrator.ports.renderer import Renderer
    from orchestrator.settings import Settings

_log = logging.getLogger("orchestrator.secrets")

_USES_SHOWN = 3


class Found(NamedTuple):
    """What became of a look-up: the value and where it was, or why there is none that can be used.

    ``tried`` are the places that were looked at, for people; the value is never in them, nor in ``fault``.
    """

    value: str | None
    where: str
    tried: tuple[str, ...] = ()
    fault: str = ""

    @property
    def is_short(self) -> bool:
        """Whether the value is so short that it may be found where it does not stand for the secret."""
        return self.value is not None and len(self.value) < SHORT


class SecretLookup:
    """See ports.secrets.Secrets. ``environ`` None means that of this process."""

    def __init__(
        self, settings: Settings, renderer: Renderer, codec: Codec, environ: Mapping[str, str] | None = None
    ) -> None:
        self.redactor = Redactor()
        self._renderer = renderer
        self._codec = codec
        self._environ = os.environ if environ is None else environ
        path = settings.secrets_file
        self._files = SecretFiles(settings.project / path) if path else None
        self._learning = threading.Lock()
        self._keyring: dict[str, str | None] = {}

    # -- looking up ----------------------------------------------------------------------------------------------

    def find(self, name: str) -> Found:
        """Look a name up and tell where it was found, or where not; what is found is known to ``redactor``."""
        variable = f"{SECRET_PREFIX}{name}"
        value = self._environ.get(variable)
        if value is not None:
            return self._usable(name, value, f"the variable {variable}")
        tried = [f"the variable {variable}"]
        if self._files is None:
            tried.append("no file of secrets (secrets_file is not set)")
        else:
            value = self._files.get(name)
            where = self._files.where(name)
            if value is not None:
                return self._usable(name, value, where)
            tried.append(where)
        if name not in self._keyring:
            self._keyring[name], missing = keyring.get(name)
            if missing:
                del self._keyring[name]
                return Found(None, "", (*tried, missing))
        value = self._keyring[name]
        if value is not None:
            return self._usable(name, value, "the keyring")
        return Found(None, "", (*tried, f"the keyring ({keyring.SERVICE}, {name})"))

    def _usable(self, name: str, value: str, where: str) -> Found:
        fault = ""
        if not value:
            fault = "it is empty"
        elif len(value) < LEAST:
            fault = f"it is shorter than {LEAST} characters, too short to be kept out of results and logs"
        elif "\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value):
            fault = "it is no text"
        if fault:
            return Found(None, where, (), f"{reference(name)}: found in {where}, but {fault}")
        with self._learning:
            self.redactor.learn((value,))
        return Found(value, where)

    def value(self, name: str) -> str:
        """See ports.secrets.Secrets."""
        try:
            found = self.find(name)
        except OrchestratorError as error:
            raise TaskError(f"{reference(name)}: {error}", kind="secret") from None
        if found.value is None:
            raise TaskError(found.fault or f"{reference(name)} is not there any more", kind="secret")
        return found.value

    # -- before a run --------------------------------------------------------------------------------------------

    def uses(self, pipeline: Pipeline) -> list[SecretUse]:
        """See ports.secrets.Secrets."""
        return [
            SecretUse(name, step, _place(path))
            for step, task in _steps(pipeline)
            for path, name in self._renderer.secrets(task.parameters)
        ]

    def demand(self, uses: Sequence[SecretUse], pipeline: Pipeline, inputs: Mapping[str, Any]) -> None:
        """See ports.secrets.Secrets."""
        watch(self.redactor)
        missing = {}
        for name, places in by_name(uses).items():
            found = self.find(name)
            if found.value is None:
                missing[name] = _told(name, places, found)
            elif found.is_short:
                _log.warning(
                    "%s is shorter than %d characters: it may be masked elsewhere, too", reference(name), SHORT
                )
        if missing:
            raise SecretsMissing(missing)
        if self.redactor.active:
            self._check(pipeline, inputs)

    def _check(self, pipeline: Pipeline, inputs: Mapping[str, Any]) -> None:
        """Refuse what would be kept with a secret's value in it, before anything is kept."""
        for name, value in inputs.items():
            if self.redactor.value(value) != value:
                raise UsageError(
                    f"the input {self.redactor.text(name)} holds the value of a secret, and inputs are kept: "
                    "name the secret in the step, as {{ secrets.NAME }}"
                )
        if self.redactor.found_in(self._codec.encode_pipeline(pipeline).payload):
            raise UsageError(
                "the pipeline itself holds the value of a secret, and definitions are kept: "
                "write {{ secrets.NAME }} in its place"
            )


def _steps(pipeline: Pipeline) -> Iterator[tuple[str, Task]]:
    """Yield each step that has templates, or stands in another, with what to call it: ``outer.inner``."""
    for task in pipeline.tasks.values():
        if task.body:
            waiting = [(str(task.id), task)]
            while waiting:
                name, step = waiting.pop()
                yield name, step
                waiting += [(f"{name}.{inner.id}" if inner.id else name, inner) for inner in reversed(step.body)]
        elif task.reads is not None:
            yield str(task.id), task


def by_name(uses: Sequence[SecretUse]) -> dict[str, list[SecretUse]]:
    """Return the uses of each secret, in the order in which the secrets are named first."""
    found: dict[str, list[SecretUse]] = {}
    for use in uses:
        found.setdefault(use.name, []).append(use)
    return found


def _told(name: str, uses: Sequence[SecretUse], found: Found) -> str:
    places = ", ".join(f"{use.step}: {use.place}" for use in uses[:_USES_SHOWN])
    if len(uses) > _USES_SHOWN:
        places += f" and {len(uses) - _USES_SHOWN} more"
    text = found.fault or f"{reference(name)}: not in {', '.join(found.tried)}"
    return f"{text}; used in step {places}"


def _place(path: tuple[str | int, ...]) -> str:
    place = "parameters"
    for part in path:
        place += f"[{part}]" if isinstance(part, int) else f".{part}"
    return place
