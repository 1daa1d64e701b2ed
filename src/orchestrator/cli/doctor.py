"""`orchestrator doctor`: what one looks at first when something does not work."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli import output
from orchestrator.cli.common import Command, Common, pass_common
from orchestrator.cli.output import plural, size, style
from orchestrator.errors import OrchestratorError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.settings import Settings

NETWORK_FILE_SYSTEMS = (
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "9p",
    "afs",
    "lustre",
    "glusterfs",
    "ceph",
    "fuse.sshfs",
)
LITTLE_SPACE = 200 * 1024 * 1024
UNUSABLE_EXIT_CODE = 6

Finding = tuple[str, str, str]
"""ok, note, warning or problem; what was looked at; what was found."""
SIGNS = {"ok": ("ok  ", "green"), "note": ("note", "dim"), "warning": ("warn", "yellow"), "problem": ("BAD ", "red")}


@click.command(
    "doctor", cls=Command, examples=("orchestrator doctor", "orchestrator doctor --store sqlite:////data/s.db")
)
@pass_common
async def doctor_command(common: Common) -> int:
    """Look at the installation, the settings and the store.

    Changes nothing, and ends with 6 if the store cannot be used.
    """
    bad = False
    settings = common.settings()
    findings = [*_installation(), *_settings(common, settings)]
    findings += _encryption(settings)
    findings += _secrets(settings)
    findings += await _store(common, settings)
    findings += _models()
    for kind, what, found in findings:
        sign, colour = SIGNS[kind]
        bad = bad or kind == "problem"
        output.say(f"{style(sign, colour)}  {what:<16}  {output.one_line(found)}")
    return UNUSABLE_EXIT_CODE if bad else 0


def _installation() -> Iterator[Finding]:
    from orchestrator import __version__
    from orchestrator.state.sqlite import library_version

    yield "ok", "orchestrator", f"{__version__} in {Path(__file__).parent.parent}"
    yield "ok", "Python", f"{platform.python_version()}, {sys.executable} ({platform.platform()})"
    yield "ok", "SQLite", f"{library_version()}, brought by apsw"
    for extra, names in _extras().items():
        missing = [name for name in names if not _is_installed(name)]
        if missing:
            yield "note", f"extra {extra!r}", f"not installed: pip install 'durable-orchestrator[{extra}]'"
        else:
            yield "ok", f"extra {extra!r}", ", ".join(f"{name} {metadata.version(name)}" for name in names)


def _extras() -> dict[str, list[str]]:
    """Return the distributions that each extra of ours brings."""
    found: dict[str, list[str]] = {}
    try:
        requirements = metadata.requires("durable-orchestrator") or []
    except metadata.PackageNotFoundError:
        return found
    for requirement in requirements:
        name, _, marker = requirement.partition(";")
        if "extra ==" in marker:
            extra = marker.split("extra ==")[1].strip(" '\")")
            found.setdefault(extra, []).append("".join(iter_name(name)))
    return found


def iter_name(requirement: str) -> Iterator[str]:
    """Yield the characters of a requirement's name.

    >>> "".join(iter_name("duckdb>=2.0 "))
    'duckdb'
    """
    for character in requirement.strip():
        if not (character.isalnum() or character in "._-"):
            return
        yield character


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def _settings(common: Common, settings: Settings) -> Iterator[Finding]:
    from orchestrator.settings import BLOBS_VARIABLE, FILE_NAME, SECRETS_VARIABLE, STORE_VARIABLE
    from orchestrator.state.masking import mask

    yield "ok", "project", str(settings.project)
    file = settings.project / FILE_NAME
    given = _keys(file)
    for field in fields(settings):
        if field.name == "project":
            continue
        value = getattr(settings, field.name)
        source = f"from {file}" if field.name in given else "default"
        if field.name == "store":
            value = mask(value)
            if common.store is not None:
                source = "from --store"
            elif os.environ.get(STORE_VARIABLE):
                source = f"from {STORE_VARIABLE}"
        elif field.name == "blobs":
            value = mask(value) or "beside the store"
            source = f"from {BLOBS_VARIABLE}" if os.environ.get(BLOBS_VARIABLE) else source
        elif field.name == "secrets_file":
            value = value or "none"
            source = f"from {SECRETS_VARIABLE}" if os.environ.get(SECRETS_VARIABLE) else source
        elif field.name == "retention":
            value = plural(len(value), "rule") if value else "everything is kept"
        elif field.name == "encryption_command":
            value = value[:1]  # what follows may be a secret
        yield "ok", field.name, f"{(', '.join(value) or 'none') if isinstance(value, tuple) else value}  ({source})"


def _encryption(settings: Settings) -> Iterator[Finding]:
    """Tell whether records are encrypted, and by which keys: their ids, never what they are."""
    from orchestrator.settings import KEYS_VARIABLE
    from orchestrator.state.encryption import Encryption
    from orchestrator.state.opening import sealing_of

    try:
        sealing = sealing_of(settings)
    except OrchestratorError as error:
        yield "problem", "encryption", str(error)
        return
    if isinstance(sealing, Encryption):
        source = KEYS_VARIABLE if KEYS_VARIABLE in os.environ else "encryption_command"
        first, *others = sealing.key_ids
        reading = f", reads also {', '.join(others)}" if others else ""
        yield "ok", "encryption", f"on: writes with key {first}{reading}  (from {source})"
    else:
        yield "note", "encryption", "off: whoever can read the store's files can read what is in them"


def _secrets(settings: Settings) -> Iterator[Finding]:
    """Tell where secrets would be found, and how many are in the environment and the file: never which values."""
    from orchestrator.secrets import keyring
    from orchestrator.secrets.files import SecretFiles
    from orchestrator.settings import SECRET_PREFIX

    count = sum(name.startswith(SECRET_PREFIX) for name in os.environ)
    parts = [f"{count} in the environment ({SECRET_PREFIX}...)"]
    if settings.secrets_file:
        files = SecretFiles(settings.project / settings.secrets_file)
        try:
            parts.append(f"{len(files.names())} in {files.path}")
        except OrchestratorError as error:
            yield "problem", "secrets", str(error)
            return
    parts.append("the keyring" if keyring.is_installed() else "no keyring (extra 'keyring')")
    yield "ok", "secrets", ", ".join(parts)


def _keys(file: Path) -> set[str]:
    import tomllib

    return set(tomllib.loads(file.read_text("utf-8"))) if file.is_file() else set()


async def _store(common: Common, settings: Settings) -> list[Finding]:
    file = common.store_file()
    findings: list[Finding] = list(_place(file)) if file is not None else []
    if file is not None and not file.exists():
        return [*findings, ("ok", "store file", f"{file}: not there yet; the first run makes it")]
    try:
        async with common.orchestrator() as orchestrator:
            if not await orchestrator.state_manager.is_healthy():
                return [*findings, ("problem", "store", "cannot be written; -v tells the reason")]
            statistics = await orchestrator.state_manager.get_statistics()
    except OrchestratorError as error:
        return [*findings, ("problem", "store", str(error))]
    survives = "kill -9 and power cuts" if settings.durability == "full" else "kill -9, but not a power cut"
    kept = statistics.get("durability", survives if file is not None else "nothing: it lives in memory")
    bytes_used = statistics.get("database_bytes", 0) + statistics.get("blob_bytes", 0)
    holds = plural(statistics["executions"], "execution")
    return [
        *findings,
        ("ok", "store", f"{statistics['url']}: {holds}, {size(bytes_used)}, writable"),
        ("ok", "survives", str(kept)),
    ]


def _place(file: Path) -> Iterator[Finding]:
    """Look at the folder of a store's file: may it be written, on what does it lie, how much room is there."""
    folder = file.parent
    while not folder.exists():
        folder = folder.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        yield "problem", "store folder", f"{folder} cannot be written by this user"
    kind = _file_system(folder)
    if kind in NETWORK_FILE_SYSTEMS:
        yield (
            "warning",
            "file system",
            f"{kind}: locks and fsync of network file systems cannot be trusted; use a local disk",
        )
    elif kind in ("tmpfs", "ramfs"):
        yield "warning", "file system", f"{kind}: what lies there is gone after a restart of the machine"
    elif kind:
        yield "ok", "file system", kind
    free = shutil.disk_usage(folder).free
    yield "warning" if free < LITTLE_SPACE else "ok", "free space", size(free)


def _file_system(folder: Path) -> str:
    """Return the kind of file system that a folder lies on; empty where the system does not tell (no /proc)."""
    place, best, kind = str(folder.resolve()), "", ""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        mounted = before.split()[4].replace("\\040", " ")
        if (place == mounted or place.startswith(mounted.rstrip("/") + "/")) and len(mounted) >= len(best):
            best, kind = mounted, after.split()[0]
    return kind


def _models() -> Iterator[Finding]:
    from orchestrator.models import init_models

    try:
        models = init_models()
        default = models.default
    except OrchestratorError as error:
        yield "warning", "models", str(error)
        return
    if not models:
        yield "note", "models", "none configured in the environment or found on this machine; only `llm` steps need one"
    for name, model in models.items():
        note = " (default)" if default is not None and default.name == name else ""
        yield "ok", "model", f"{model!r}{note}"
