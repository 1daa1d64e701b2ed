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
    allow_hosts = ["localhost:8080"]             # hosts `http` steps may ask although their addresses are not public
    allow_modules = ["*"]                        # modules that `tool: python` may import
    encryption_command = ["pass", "show", "keys"] # prints the keys, or ORCHESTRATOR_ENCRYPTION_KEYS
    require_encryption = true                    # nothing is read or written without keys
    blobs = "s3://bucket/prefix"                 # or ORCHESTRATOR_BLOBS: where values above 64 KiB lie
    secrets_file = "/run/secrets"                # or ORCHESTRATOR_SECRETS_FILE: a file of NAME=value, or a folder

    [[retention]]                                # what `orchestrator prune` and servers remove
    keep = "30 days"
"""

from __future__ import annotations

import os
import re
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
SECRETS_VARIABLE = "ORCHESTRATOR_SECRETS_FILE"
SECRET_PREFIX = "ORCHESTRATOR_SECRET_"  # noqa: S105 - a name, no secret
"""A variable of this beginning holds the secret of the name that follows; never handed to the commands of steps."""
LEAST_LEASE_SECONDS = 2
DEFAULT_STORE = f"sqlite:///{FOLDER_NAME}/store.db"
STORE_NAMES = {
    "file": (None, DEFAULT_STORE),
    "memory": (None, "memory://"),
    "postgres": ("ORCHESTRATOR_POSTGRES_URL", "postgresql://localhost/orchestrator"),
    "redis": ("ORCHESTRATOR_REDIS_URL", "redis://localhost:6379/0"),
}
"""Names that stand for a store's URL: the variable that says which, and the URL where it does not."""


RETENTION_STATUSES = ("completed", "failed", "cancelled", "stopped", "interrupted")


@dataclass(frozen=True, slots=True)
class Retention:
    """A rule about executions that have ended: those of ``pipeline_id`` (None: of any) that have one of ``statuses``.

    They are kept for ``keep_seconds`` after their last fact, the newest ``max_count`` of them, and the newest ones
    that take ``max_bytes`` together; None does not limit. What exceeds any of the limits is removed. The first rule
    that fits an execution decides about it.
    """

    keep_seconds: float | None = None
    max_count: int | None = None
    max_bytes: int | None = None
    pipeline_id: str | None = None
    statuses: tuple[str, ...] = ("completed",)


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
    encryption_command: tuple[str, ...] = ()
    require_encryption: bool = False
    blobs: str = ""
    retention: tuple[Retention, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    secrets_file: str = ""


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment as steps' commands and worker processes may have it: without keys and secrets.

    >>> without_secrets({"HOME": "/h", "ORCHESTRATOR_SECRET_NAME": "x"})
    {'HOME': '/h'}
    """
    return {
        name: value for name, value in environ.items() if name != KEYS_VARIABLE and not name.startswith(SECRET_PREFIX)
    }


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
    if environ.get(SECRETS_VARIABLE):
        settings = replace(settings, secrets_file=environ[SECRETS_VARIABLE])
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
    "allow_hosts": (list, "a list of texts"),
    "allow_modules": (list, "a list of texts"),
    "encryption_command": (list, "a list of texts"),
    "require_encryption": (bool, "true or false"),
    "blobs": (str, "a text"),
    "secrets_file": (str, "a text"),
    "retention": (list, "tables, each under [[retention]]"),
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
        item_kind = dict if key == "retention" else str
        if not fits or (isinstance(value, list) and not all(isinstance(item, item_kind) for item in value)):
            raise UsageError(f"{file}: {key}: expected {expected}, got {value!r}")
        changes[key] = tuple(value) if isinstance(value, list) else value
    changes["retention"] = tuple(
        _retention(rule, f"{file}: retention rule {number}")
        for number, rule in enumerate(changes.get("retention", ()), 1)
    )
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


# -- retention ---------------------------------------------------------------------------------------------------

_AGE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|d|w|seconds?|minutes?|hours?|days?|weeks?)\s*", re.ASCII)
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)\s*", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_POWERS = " KMGT"


def seconds_of(text: str) -> float:
    """Read a duration: ``30 days``, ``12h``, ``90 min``, ``45s``, ``2w``; raise ValueError for anything else.

    A bare number is refused: whoever types 30 may mean days, and what is removed is gone.

    >>> seconds_of("2w"), seconds_of("90 minutes")
    (1209600.0, 5400.0)
    """
    found = _AGE.fullmatch(text)
    if found is None:
        raise ValueError(f"not a duration: {text!r} (expected something like 30d, 12h, 90m or 45s)")
    return float(found[1]) * _SECONDS[found[2][0]]


def bytes_of(text: str) -> int:
    """Read a number of bytes: ``500 MB`` (powers of 1000), ``10 GiB`` (of 1024); raise ValueError for anything else.

    >>> bytes_of("1.5 KiB"), bytes_of("2MB")
    (1536, 2000000)
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"not a size: {text!r} (expected something like 500 MB or 10 GiB)")
    unit = found[2]
    power = 0 if unit == "B" else _POWERS.index(unit[0])
    return int(float(found[1]) * (1024 if "i" in unit else 1000) ** power)


def _retention(table: dict[str, Any], place: str) -> Retention:
    known = ("keep", "max_count", "max_bytes", "pipeline_id", "status")
    for key in table:
        if key not in known:
            raise UsageError(f"{place}: unknown key {key!r} (there are {', '.join(known)})")
    keep, count, size = table.get("keep"), table.get("max_count"), table.get("max_bytes")
    pipeline_id, status = table.get("pipeline_id"), table.get("status", ["completed"])
    if keep is None and count is None and size is None:
        raise UsageError(f"{place}: it limits nothing: give keep, max_count or max_bytes")
    statuses = tuple(status) if isinstance(status, list) else (status,)
    if not statuses or any(item not in RETENTION_STATUSES for item in statuses):
        raise UsageError(f"{place}: status: expected one or more of {', '.join(RETENTION_STATUSES)}, got {status!r}")
    if pipeline_id is not None and not isinstance(pipeline_id, str):
        raise UsageError(f"{place}: pipeline_id: expected a text, got {pipeline_id!r}")
    if count is not None and (type(count) is not int or count < 0):
        raise UsageError(f"{place}: max_count: expected a whole number, 0 or more, got {count!r}")
    try:
        seconds = None if keep is None else seconds_of(_text(keep))
        largest = size if size is None or (type(size) is int and size >= 0) else bytes_of(_text(size))
    except ValueError as error:
        raise UsageError(f"{place}: {error}") from error
    return Retention(seconds, count, largest, pipeline_id, statuses)


def _text(value: object) -> str:
    return value if isinstance(value, str) else repr(value)
