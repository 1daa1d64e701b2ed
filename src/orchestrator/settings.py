"""Settings: from the environment and from ``orchestrator.toml``; arguments go before both.

``orchestrator.toml`` is looked for in the working folder and its parents; the folder that holds it (else the one that
holds ``.orchestrator``, else the working folder) is the project folder: what relative paths in steps mean.

::

    store = "sqlite:///.orchestrator/store.db"   # or ORCHESTRATOR_STORE
    durability = "full"                          # or "process": survives kill -9, not a power cut
    max_concurrency = 32                         # attempts at once
    grace = 30                                   # seconds a graceful stop waits for running steps
    lease = 30                                   # seconds after which an owner that went silent may be followed
    allow_paths = ["/data"]                      # folders outside the project that file tools may use
    allow_modules = ["*"]                        # modules that `tool: python` may import
    encryption_command = ["pass", "show", "keys"] # prints the keys, or ORCHESTRATOR_ENCRYPTION_KEYS
    require_encryption = true                    # nothing is read or written without keys
    blobs = "s3://bucket/prefix"                 # or ORCHESTRATOR_BLOBS: where values above 64 KiB lie
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
BLOBS_VARIABLE = "ORCHESTRATOR_BLOBS"
KEYS_VARIABLE = "ORCHESTRATOR_ENCRYPTION_KEYS"
"""Holds secrets: read where a store is opened, and never handed to the commands of steps."""
LEAST_LEASE_SECONDS = 2


@dataclass(frozen=True, slots=True)
class Settings:
    """What can be set, with its defaults; ``project`` is the project folder, absolute."""

    project: Path
    store: str = f"sqlite:///{FOLDER_NAME}/store.db"
    durability: str = "full"
    max_concurrency: int = 32
    grace: float = 30.0
    allow_paths: tuple[str, ...] = ()
    allow_modules: tuple[str, ...] = ("*",)
    lease: float = 30.0
    encryption_command: tuple[str, ...] = ()
    require_encryption: bool = False
    blobs: str = ""


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
    if environ.get(BLOBS_VARIABLE):
        settings = replace(settings, blobs=environ[BLOBS_VARIABLE])
    if store is not None:
        settings = replace(settings, store=store)
    return settings


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
    "encryption_command": (list, "a list of texts"),
    "require_encryption": (bool, "true or false"),
    "blobs": (str, "a text"),
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
        fits = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
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
