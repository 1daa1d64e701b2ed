"""Settings: from the environment and from ``orchestrator.toml``; arguments go before both.

``orchestrator.toml`` is looked for in the working folder and its parents; the folder that holds it (else the one that
holds ``.orchestrator``, else the working folder) is the project folder: what relative paths in steps mean.

::

    store = "sqlite:///.orchestrator/store.db"   # or ORCHESTRATOR_STORE; or a name: "file", "redis", ...
    durability = "full"                          # or "process": survives kill -9, not a power cut
    max_concurrency = 32                         # attempts at once
    grace = 30                                   # seconds a graceful stop waits for running steps
    lease = 30                                   # seconds after which an owner that went silent may be followed
    allow_paths = ["/data"]                      # folders outside the project that file tools may use
    allow_modules = ["*"]                        # modules that `tool: python` may import
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

FILE_NAME = "orchestrator.toml"
FOLDER_NAME = ".orchestrator"
STORE_VARIABLE = "ORCHESTRATOR_STORE"
LEAST_LEASE_SECONDS = 2
DEFAULT_STORE = f"sqlite:///{FOLDER_NAME}/store.db"
STORE_NAMES = {
    "file": (None, DEFAULT_STORE),
    "memory": (None, "memory://"),
    "postgres": ("ORCHESTRATOR_POSTGRES_URL", "postgresql://localhost/orchestrator"),
    "redis": ("ORCHESTRATOR_REDIS_URL", "redis://localhost:6379/0"),
}
"""Names that stand for a store's URL: the variable that says which, and the URL where it does not."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set, with its defaults; ``project`` is the project folder, absolute."""

    project: Path
    store: str = DEFAULT_STORE
    durability: str = "full"
    max_concurrency: int = 32
    grace: float = 30.0
    allow_paths: tuple[str, ...] = ()
    allow_modules: tuple[str, ...] = ("*",)
    lease: float = 30.0


def load_settings(
    *, store: str | None = None, cwd: Path | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Return the settings that hold in ``cwd`` (None: the working folder); ``store`` goes before everything.

    Raises UsageError naming the file and the key that is wrong.
    """
    here = (cwd or Path.cwd()).absolute()
    environ = os.environ if environ is None else environ
    settings = Settings(_project_folder(here))
    file = settings.project / FILE_NAME
    if file.is_file():
        settings = _from_file(settings, file)
    if environ.get(STORE_VARIABLE):
        settings = replace(settings, store=environ[STORE_VARIABLE])
    if store is not None:
        settings = replace(settings, store=store)
    return replace(settings, store=store_url(settings.store, environ))


def settings_with(store: str | None, settings: Settings | None) -> Settings:
    """Return the settings (None: those that hold here) with this store, a URL or a name, in the place of theirs."""
    chosen = settings or load_settings()
    return replace(chosen, store=store_url(chosen.store if store is None else store))


def store_url(text: str, environ: Mapping[str, str] | None = None) -> str:
    """Return the URL that a store's name stands for (see ``STORE_NAMES``); any other text as it is.

    >>> store_url("redis", {}), store_url("sqlite:///a.db")
    ('redis://localhost:6379/0', 'sqlite:///a.db')
    """
    if text not in STORE_NAMES:
        return text
    variable, url = STORE_NAMES[text]
    found = (os.environ if environ is None else environ).get(variable) if variable is not None else None
    return found or url


def _project_folder(here: Path) -> Path:
    for marker in (FILE_NAME, FOLDER_NAME):
        for folder in (here, *here.parents):
            if (folder / marker).exists():
                return folder
    return here


_KINDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "store": (str, "a text"),
    "durability": (str, "a text"),
    "max_concurrency": (int, "a whole number"),
    "grace": ((int, float), "a number"),
    "lease": ((int, float), "a number"),
    "allow_paths": (list, "a list of texts"),
    "allow_modules": (list, "a list of texts"),
}


def _from_file(settings: Settings, file: Path) -> Settings:
    import tomllib

    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{file}: not TOML: {error}") from error
    known = {field.name for field in fields(Settings)} - {"project"}
    changes: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            raise UsageError(f"{file}: unknown setting {key!r} (there are {', '.join(sorted(known))})")
        kind, expected = _KINDS[key]
        fits = isinstance(value, kind) and not isinstance(value, bool)
        if not fits or (isinstance(value, list) and not all(isinstance(item, str) for item in value)):
            raise UsageError(f"{file}: {key}: expected {expected}, got {value!r}")
        changes[key] = tuple(value) if isinstance(value, list) else value
    settings = replace(settings, **changes)
    if settings.durability not in ("full", "process"):
        raise UsageError(f"{file}: durability: expected 'full' or 'process', got {settings.durability!r}")
    if settings.max_concurrency < 1:
        raise UsageError(f"{file}: max_concurrency: expected 1 or more, got {settings.max_concurrency}")
    if not 0 <= settings.grace < float("inf"):
        raise UsageError(f"{file}: grace: expected seconds, 0 or more, got {settings.grace}")
    if not LEAST_LEASE_SECONDS <= settings.lease < float("inf"):
        raise UsageError(f"{file}: lease: expected seconds, {LEAST_LEASE_SECONDS} or more, got {settings.lease}")
    return settings
