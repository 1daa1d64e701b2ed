"""Opening a SQLite file so that what it acknowledges is on the disk, and speaking of its errors in our words."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
import uuid
from importlib import resources
from typing import TYPE_CHECKING, Any

import apsw

from orchestrator.errors import (
    StoreDamaged,
    StoreError,
    StoreFull,
    StoreIncompatible,
    StoreUnavailable,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT = 4
MIGRATIONS = {1: "migrate-1.sql", 2: "migrate-2.sql", 3: "migrate-3.sql"}
"""Format -> the SQL that makes the next one of it. Whoever raises FORMAT adds a line here, and a golden store."""
APPLICATION_ID = 0x4F524331  # "ORC1"
BUSY_TIMEOUT_MS = 30_000


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Translate the driver's errors, once, at the edge."""
    try:
        yield
    except apsw.Error as error:
        raise translate(error, path) from error


def translate(error: apsw.Error, path: Path) -> StoreError:
    """Return our error for one of SQLite's."""
    text = f"{path}: {error}"
    if isinstance(error, apsw.FullError):
        return StoreFull(f"no space left for the store {text}; free some and resume")
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return StoreDamaged(str(path), f"SQLite says: {error}")
    if isinstance(error, apsw.SQLError):
        return StoreIncompatible(f"{path} does not have the tables of this version's format: {error}")
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return StoreUnavailable(
            f"the store {path} was locked by another program for {BUSY_TIMEOUT_MS // 1000} s; end it and resume"
        )
    if path.is_dir():
        return StoreUnavailable(f"the store {path} is a folder; name a file in it, like sqlite:///{path}/store.db")
    if isinstance(error, (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError)):
        return StoreUnavailable(f"the store cannot be opened for writing: {text}; check its permissions")
    return StoreUnavailable(f"the store failed: {text}; what was acknowledged is kept, resume when the cause is gone")


def is_fatal(error: apsw.Error) -> bool:
    """Tell whether the connection must never be used again (after a failed fsync SQLite would just go on)."""
    return isinstance(error, (apsw.IOError, apsw.CorruptError, apsw.NotADBError, apsw.FullError, apsw.CantOpenError))


def prepare_folder(path: Path) -> None:
    """Make the store's folder (0700) and file (0600), whatever the umask, and make their names durable.

    Raises StoreUnavailable where somebody else could put another file in its place.
    """
    try:
        _make_folder(path.parent)
        _refuse_strangers(path)
        if _create_file(path) or not path.stat().st_size:
            # Also where the file is there but empty: its maker may have died before its name was durable.
            sync_folder(path.parent)
    except OSError as error:
        raise os_error(error, path) from error


def _create_file(path: Path) -> bool:
    """Create the store's file; False if it is there already."""
    try:
        fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    try:
        os.fchmod(fd, 0o600)
        os.fsync(fd)
    finally:
        os.close(fd)
    return True


def _refuse_strangers(path: Path) -> None:
    mode = path.parent.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise StoreUnavailable(
            f"the store {path} lies in a folder that everybody may write to; take that right away: "
            f"chmod o-w {path.parent}"
        )
    with contextlib.suppress(FileNotFoundError):
        owner = path.stat().st_uid
        if owner != os.geteuid():
            raise StoreUnavailable(f"the store {path} belongs to user {owner}, not to you ({os.geteuid()})")


def _make_folder(folder: Path) -> None:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        with contextlib.suppress(FileExistsError):
            new.mkdir(mode=0o700)
            new.chmod(0o700)
            sync_folder(new.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def os_error(error: OSError, path: Path) -> StoreError:
    """Return our error for one of the operating system's."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(f"no space left for the store {path}: {error}; free some and resume")
    return StoreUnavailable(f"the store {path} cannot be used: {error}")


def connect(path: Path, *, durable: bool) -> apsw.Connection:
    """Open the store's file, checked and migrated; ``durable`` False gives up fsync at commit (process crashes only).

    Raises StoreIncompatible for a foreign file or a newer format.
    """
    with translated(path):
        deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
        while True:
            db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
            try:
                _configure(db, path, durable=durable)
            except (apsw.BusyError, apsw.LockedError):
                # Where many open a new store at once, SQLite does not wait for the switch to WAL of one of them.
                db.close()
                if time.monotonic() >= deadline:
                    raise
                time.sleep(0.02)
            except BaseException:
                db.close()  # an open connection would hold the space of files that are removed to make room
                raise
            else:
                return db


def _configure(db: apsw.Connection, path: Path, *, durable: bool) -> None:
    db.set_busy_timeout(BUSY_TIMEOUT_MS)
    version = _version(db, path)  # looked at before anything is changed: a file that is not ours stays as it is
    mode = db.pragma("journal_mode", "WAL")
    if mode != "wal":
        raise StoreUnavailable(f"{path}: this file system cannot hold a WAL store (journal mode {mode!r})")
    set_durable(db, durable=durable)
    for name, value in (("foreign_keys", 1), ("trusted_schema", 0), ("mmap_size", 0), ("cell_size_check", 1)):
        db.pragma(name, value)
    if version == 0:
        _create(db, path)
    while 0 < version < FORMAT:
        version = _migrate(db, path)


def set_durable(db: apsw.Connection, *, durable: bool) -> None:
    """Set what a commit survives, and read it back: builds differ in their defaults."""
    db.pragma("synchronous", "FULL" if durable else "NORMAL")
    if db.pragma("synchronous") != (2 if durable else 1):
        raise StoreUnavailable("SQLite refused PRAGMA synchronous")


_HEADER = """
    SELECT (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id),
           (SELECT count(*) FROM sqlite_schema)
"""


def _version(db: apsw.Connection, path: Path) -> int:
    """Return the format of a store, 0 for an empty file; raises StoreIncompatible for one that is not ours to read."""
    # One statement sees one moment: between two of ours another process may be making the store.
    row: Any = db.execute(_HEADER).fetchone()
    version, application, tables = row
    if version == application == tables == 0:
        return 0
    if application != APPLICATION_ID:
        raise StoreIncompatible(f"{path} is a SQLite file, but no store of this program")
    if not 0 < version <= FORMAT or any(old not in MIGRATIONS for old in range(version, FORMAT)):
        raise StoreIncompatible(
            f"{path} has store format {version}, this version reads format {FORMAT}; "
            "use the version of durable-orchestrator that wrote it, or a newer one"
        )
    return int(version)


def _sql(name: str) -> str:
    return resources.files("orchestrator.state.sqlite").joinpath(name).read_text("utf-8")


def _create(db: apsw.Connection, path: Path) -> None:
    schema = _sql("schema.sql")
    db.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have made it since we looked.
        if _version(db, path) == 0:
            db.execute(schema)
            db.execute("INSERT INTO meta VALUES ('uuid', ?)", (str(uuid.uuid4()),))
            db.pragma("application_id", APPLICATION_ID)
            db.pragma("user_version", FORMAT)
    except BaseException:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def _migrate(db: apsw.Connection, path: Path) -> int:
    """Take a store one format further, whole or not at all; return its format then."""
    db.execute("BEGIN IMMEDIATE")
    try:
        version = _version(db, path)  # another process may have been here since we looked
        if version < FORMAT:
            statements = _sql(MIGRATIONS[version])
            db.execute(statements)
            version += 1
            db.pragma("user_version", version)
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")
    return version
