"""Where a table comes from: files of the project, the result of an earlier step, or rows in the pipeline itself."""

from __future__ import annotations

import os
import re
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import TaskError
from orchestrator.tools import listing
from orchestrator.tools.atomic import sha256_of
from orchestrator.tools.fileerrors import cancelled, missing
from orchestrator.tools.looking import tell_read
from orchestrator.tools.tables import sqltext
from orchestrator.tools.tables.sqltext import wrong

if TYPE_CHECKING:
    from contextlib import ExitStack

    from orchestrator.ports.context import TaskContext
    from orchestrator.tools.paths import Place, Sandbox

_COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".zip": "zip"}
_FORMATS = {
    ".csv": "csv", ".tsv": "csv", ".txt": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
_CSV = {
    "delimiter": "delim", "header": "header", "names": "names", "types": "types", "nulls": "nullstr",
    "quote": "quote", "escape": "escape", "skip": "skip", "date_format": "dateformat",
    "timestamp_format": "timestampformat", "encoding": "encoding", "ignore_errors": "ignore_errors",
}  # fmt: skip
_LARGEST_UNZIPPED = 64 << 30
_GLOB = re.compile(r"[*?\[]")


@dataclass(slots=True)
class Source:
    """A table to read: as SQL over ``paths``, or as ``rows``. ``shown`` tells what a path is called by people."""

    sql: str = ""
    rows: list[dict[str, Any]] | None = None
    paths: list[str] = field(default_factory=list)
    shown: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Opener:
    """Opens the inputs of one action. ``opened`` closes their files, ``scratch`` is a folder for unpacked ones."""

    sandbox: Sandbox
    context: TaskContext
    opened: ExitStack
    scratch: Path

    def open(self, value: Any, options: dict[str, Any]) -> Source:
        """Return what ``value`` means; raise TaskError if it is no table."""
        if isinstance(value, list):
            return _rows(value)
        if isinstance(value, dict):
            if isinstance(value.get("data"), list):
                return _rows(value["data"])
            if isinstance(value.get("path"), str):
                return self._reference(value, options)
            raise wrong("a mapping is a table only if it has `path` or `data`, like the result of another step here")
        return self._files(value, options)

    def _reference(self, value: dict[str, Any], options: dict[str, Any]) -> Source:
        path = value["path"]
        place = self.opened.enter_context(self.sandbox.place(path))
        descriptor = self._open(place)
        about: dict[str, Any] = {"bytes": os.fstat(descriptor).st_size, "sha256": self._tell(place, descriptor)}
        for key, found in about.items():
            if value.get(key) not in (None, found):
                raise TaskError(
                    f"{place.path!r} is not the file that an earlier step wrote: its {key} is {found}, "
                    f"not {value[key]}; run that step again",
                    kind="changed",
                    retryable=False,
                )
        known = {key: value[key] for key in ("format",) if isinstance(value.get(key), str)}
        columns = value.get("columns")
        return self._source([(place, descriptor)], {**known, **options}, columns if isinstance(columns, dict) else None)

    def _files(self, path: str, options: dict[str, Any]) -> Source:
        if not _GLOB.search(path):
            return self._one(path, options)
        folder, _, pattern = path.rpartition("/")
        while _GLOB.search(folder):
            folder, _, last = folder.rpartition("/")
            pattern = f"{last}/{pattern}"
        base = folder or ("/" if path.startswith("/") else ".")
        with self.sandbox.folder(base) as place:
            deep = "/" in pattern
            found = listing.entries(place, pattern, recursive=deep, hidden=False, limit=10_000)
        paths = [entry["path"] for entry in found if entry["type"] == "file"]
        if not paths:
            raise missing(path, "file that matches")
        places = [self.opened.enter_context(self.sandbox.place(each)) for each in paths]
        return self._source([self._told(place) for place in places], options, None)

    def _one(self, path: str, options: dict[str, Any]) -> Source:
        place = self.opened.enter_context(self.sandbox.place(path))
        return self._source([self._told(place)], options, None)

    def _told(self, place: Place) -> tuple[Place, int]:
        descriptor = self._open(place)
        self._tell(place, descriptor)
        return place, descriptor

    def _tell(self, place: Place, descriptor: int) -> str:
        """Tell that a file is read, and return its SHA-256."""
        about = os.fstat(descriptor)
        sha256 = sha256_of(descriptor, self.context)
        tell_read(self.context, place, about, sha256)
        return sha256

    def _open(self, place: Place) -> int:
        descriptor = place.open(os.O_RDONLY)
        self.opened.callback(os.close, descriptor)
        return descriptor

    def _source(
        self, files: list[tuple[Place, int]], options: dict[str, Any], columns: dict[str, str] | None
    ) -> Source:
        source = Source()
        kinds = {_kind(place.name, options) for place, _ in files}
        if len(kinds) > 1:
            raise wrong(f"files of several formats do not make one table: {', '.join(sorted(map(str, kinds)))}")
        form, compression, tabs = kinds.pop()
        for place, descriptor in files:
            if os.fstat(descriptor).st_size == 0:
                raise TaskError(f"{place.path!r} is empty: it holds no table", kind="empty", retryable=False)
            path = self._unzip(place, descriptor) if compression == "zip" else stable_path(descriptor, place)
            source.paths.append(path)
            source.shown[path] = place.path
        if compression == "zip":
            form, compression = _FORMATS.get(Path(source.paths[0]).suffix, form), None
        source.sql = _reader(form, source.paths, _arguments(form, options, tabs=tabs), columns, compression)
        return source

    def _unzip(self, place: Place, descriptor: int) -> str:
        """Unpack the one file of an archive into the scratch folder and return its path."""
        try:
            with os.fdopen(os.dup(descriptor), "rb") as file, zipfile.ZipFile(file) as archive:
                members = [
                    member
                    for member in archive.infolist()
                    if not member.is_dir() and not member.filename.startswith("__MACOSX/")
                ]
                if len(members) != 1:
                    raise wrong(f"{place.path!r} holds {len(members)} files; an archive is read if it holds one")
                suffix = Path(members[0].filename).suffix.lower()
                target = self._fresh(suffix if suffix in _FORMATS else "")
                with archive.open(members[0]) as packed, target.open("xb") as unpacked:
                    size = 0
                    while data := packed.read(1 << 20):
                        size += len(data)
                        if size > min(_LARGEST_UNZIPPED, members[0].file_size):
                            raise wrong(f"{place.path!r} unpacks to more than it says")
                        if self.context.cancelled:
                            raise cancelled("unpacking")
                        unpacked.write(data)
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
            raise wrong(f"{place.path!r} cannot be unpacked: {error}") from error
        return str(target)

    def _fresh(self, suffix: str) -> Path:
        self.scratch.mkdir(parents=True, exist_ok=True)
        return self.scratch / f"unpacked-{sum(1 for _ in self.scratch.iterdir())}{suffix}"


def stable_path(descriptor: int, place: Place) -> str:
    """Return a path that stays the opened file's, whatever is renamed; where the system has none, the plain path."""
    path = f"/proc/self/fd/{descriptor}"
    return path if Path(path).exists() else str(place.full)


def split_name(file: str) -> tuple[str | None, str | None, bool]:
    """Return what a file's endings tell: format, compression, and whether fields are separated by tabs."""
    path = Path(file.lower())
    compression = _COMPRESSED.get(path.suffix)
    suffix = Path(path.stem).suffix if compression else path.suffix
    return _FORMATS.get(suffix), compression, suffix == ".tsv"


def _kind(file: str, options: dict[str, Any]) -> tuple[str, str | None, bool]:
    form, compression, tabs = split_name(file)
    form = options.get("format") or form or ("csv" if compression == "zip" else None)
    if form not in ("csv", "json", "parquet"):
        raise wrong(f"the ending of {file!r} does not tell its format; say `format: csv`, `json` or `parquet`")
    return form, compression, tabs


def _arguments(form: str, options: dict[str, Any], *, tabs: bool) -> dict[str, Any]:
    given = {key: value for key, value in options.items() if key != "format"}
    if form != "csv":
        if given:
            raise wrong(f"{', '.join(sorted(given))}: for CSV files only, and this is {form}")
        return {}
    if tabs:
        given.setdefault("delimiter", "\t")
    return {_CSV[key]: value for key, value in given.items()}


def _reader(
    form: str, paths: list[str], arguments: dict[str, Any], columns: dict[str, str] | None, compression: str | None
) -> str:
    files = sqltext.literal(paths)
    if form == "parquet":
        return sqltext.call("read_parquet", files, {"union_by_name": True})
    if columns is not None:
        arguments = {**arguments, "columns": columns}
        if form == "csv":
            arguments = {"header": True, "allow_quoted_nulls": False, **arguments}
    else:
        arguments = {**arguments, "union_by_name": True}
    if compression is not None:
        arguments["compression"] = compression
    return sqltext.call("read_csv" if form == "csv" else "read_json", files, arguments)


def _rows(rows: list[Any]) -> Source:
    if not rows or not all(isinstance(row, dict) and row for row in rows):
        raise wrong("a list of rows needs at least one, each a mapping of column names to values")
    return Source(rows=[{str(key): value for key, value in row.items()} for row in rows])
