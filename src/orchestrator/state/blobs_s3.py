"""Big values as objects in a bucket (S3, and what speaks its protocol), each named by the digest of its content.

Credentials, region and endpoint are those of the usual ``AWS_*`` variables. An object appears whole or not at all, and
lasts once its writing is answered.

Who deletes and who writes the same digest again at that moment must not miss each other, and there is no lock between
them. So the collector first leaves a *mark*, then looks at the object's age, then deletes it, then removes the mark.
Who finds the object there already writes it anew (it is young again), then looks for marks, then for the object: with
no mark and the object there, any collector that had seen the old one has either finished before, or will see the young
one.
"""

from __future__ import annotations

import os
import secrets
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orchestrator import crashpoints
from orchestrator.errors import StoreDamaged, StoreFull, StoreUnavailable, UsageError
from orchestrator.ports.blobs import BlobInfo
from orchestrator.state.records import DIGEST_SIZE, MAX_RAW_LENGTH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

STALE_SECONDS = 3600
"""A mark this old has lost its collector."""
MARK_SECONDS = 60
"""A collector acts within this time of its mark, or begins anew; who writes waits no longer for one."""
RETRY_SECONDS = 30
EXTRA = "blobs in s3:// need an extra: pip install 'durable-orchestrator[s3]'"
FORM = "s3://BUCKET or s3://BUCKET/PREFIX"

_OWNER = "store"
_MARKS = "collecting"
_POLL_SECONDS = 0.05
_LARGEST = MAX_RAW_LENGTH + 4096
_FULL = ("StorageFull", "QuotaExceeded", "InsufficientStorage", "507")


class S3Blobs:
    """See ports.blobs.Blobs: the objects below ``url``, e.g. ``s3://bucket/prefix``.

    One store has one prefix: see ``claim``. Raises UsageError for a URL that is none, and where the library is not
    installed; connects to nothing before the first use.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc or set("@:") & set(parts.netloc) or parts.query or parts.fragment:
            raise UsageError(f"not a place for blobs: {_without_user(url)!r}; expected {FORM}")
        try:
            import obstore
            from obstore import exceptions
            from obstore.store import S3Store
        except ImportError as error:
            raise UsageError(EXTRA) from error
        self.url = url.rstrip("/")
        self._api: Any = obstore
        self._errors: Any = exceptions
        plain = (os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or "").startswith("http://")
        try:
            self._store: Any = S3Store(
                parts.netloc,
                prefix=parts.path.strip("/") or None,
                client_options={"allow_http": plain, "timeout": _seconds(RETRY_SECONDS)},
                retry_config={"max_retries": 5, "retry_timeout": _seconds(RETRY_SECONDS)},
            )
        except exceptions.BaseError as error:
            raise UsageError(f"blobs at {self.url}: {_first_line(error)}") from error

    def claim(self, store_id: str) -> None:
        """See ports.blobs.Blobs."""
        with self._translated("claiming the place"):
            try:
                self._write(_OWNER, store_id.encode(), mode="create")
            except self._errors.AlreadyExistsError:
                owner = bytes(self._api.get(self._store, _OWNER).bytes()).decode("utf-8", "replace")
                if owner != store_id:
                    raise UsageError(
                        f"the blobs at {self.url} belong to another store ({owner[:64]}), whose values would be "
                        "taken for rubbish: give each store a prefix of its own"
                    ) from None

    def put(self, digest: bytes, record: bytes) -> None:
        """See ports.blobs.Blobs."""
        path = _path(digest)
        crashpoints.point("before_blob")
        with self._translated(f"writing blob {digest.hex()}"):
            try:
                self._write(path, record, mode="create")
            except self._errors.AlreadyExistsError:
                self._put_again(digest, path, record)
        crashpoints.point("after_blob")

    def _put_again(self, digest: bytes, path: str, record: bytes) -> None:
        deadline = time.monotonic() + 2 * MARK_SECONDS
        while True:
            self._write(path, record, mode="overwrite")
            with suppress(self._errors.NotFoundError, FileNotFoundError):  # deleted once more: written once more
                if not self._is_marked(digest):
                    self._api.head(self._store, path)
                    return
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"blob {digest.hex()}: something is deleting it again and again; try later")
            time.sleep(_POLL_SECONDS)

    def _is_marked(self, digest: bytes) -> bool:
        """Tell whether a collector that may still act looks at this blob; ages are by the server's clock."""
        found = [mark for page in self._api.list(self._store, prefix=f"{_MARKS}/{digest.hex()}") for mark in page]
        if not found:
            return False
        now = self._api.head(self._store, _path(digest))["last_modified"]  # we have just written it
        return any((now - mark["last_modified"]).total_seconds() < MARK_SECONDS for mark in found)

    def get(self, digest: bytes) -> bytes:
        """See ports.blobs.Blobs."""
        name = f"blob {digest.hex()}"
        with self._translated(f"reading {name}"):
            try:
                found = self._api.get(self._store, _path(digest))
                if found.meta["size"] > _LARGEST:
                    raise StoreDamaged(name, f"absurd length: {found.meta['size']} bytes")
                return bytes(found.bytes())
            except (self._errors.NotFoundError, FileNotFoundError) as error:
                if "NoSuchBucket" in str(error):
                    raise
                raise StoreDamaged(name, f"missing: there is no such object at {self.url}") from None

    def delete(self, digest: bytes, *, unless_after: float | None = None) -> None:
        """See ports.blobs.Blobs. Two clocks meet in ``unless_after``: ours and the server's."""
        path = _path(digest)
        with self._translated(f"deleting blob {digest.hex()}"):
            if unless_after is None:
                self._delete(path)
                return
            mark = f"{_MARKS}/{digest.hex()}/{secrets.token_hex(8)}"
            marked_at = time.monotonic()
            self._write(mark, b"", mode="create")
            try:
                with suppress(self._errors.NotFoundError, FileNotFoundError):
                    young = self._api.head(self._store, path)["last_modified"].timestamp() > unless_after
                    if not young and time.monotonic() - marked_at < MARK_SECONDS / 2:
                        self._delete(path)
            finally:
                self._delete(mark)

    def iterate(self) -> Iterator[BlobInfo]:
        """See ports.blobs.Blobs."""
        with self._translated("listing blobs"):
            for page in self._api.list(self._store, chunk_size=1000):
                for item in page:
                    digest = _digest_of(item["path"])
                    if digest is not None:
                        yield BlobInfo(digest, item["size"], item["last_modified"].timestamp())

    def remove_stale(self, now: float) -> int:
        """See ports.blobs.Blobs: marks of collectors that died."""
        removed = 0
        with self._translated("listing marks"):
            for page in self._api.list(self._store, prefix=_MARKS):
                for item in page:
                    if item["last_modified"].timestamp() < now - STALE_SECONDS:
                        self._delete(item["path"])
                        removed += 1
        return removed

    def _write(self, path: str, content: bytes, *, mode: str) -> None:
        self._api.put(self._store, path, content, mode=mode, use_multipart=False)

    def _delete(self, path: str) -> None:
        with suppress(self._errors.NotFoundError, FileNotFoundError):
            self._api.delete(self._store, path)

    @contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except (self._errors.BaseError, OSError) as error:
            text = _first_line(error)
            if any(word in text for word in _FULL):
                raise StoreFull(f"{doing} at {self.url}: {text}") from None
            raise StoreUnavailable(f"{doing} at {self.url}: {self._hint(error)}{text}") from None

    def _hint(self, error: Exception) -> str:
        if "NoSuchBucket" in str(error):
            return "there is no such bucket; create it, or correct `blobs`: "
        if isinstance(error, (self._errors.UnauthenticatedError, self._errors.PermissionDeniedError, PermissionError)):
            return "not allowed; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy: "
        return ""


def _path(digest: bytes) -> str:
    name = digest.hex()
    return f"{name[:2]}/{name[2:]}"


def _digest_of(path: str) -> bytes | None:
    """Return the digest that an object is named by; None for an object that is no blob."""
    head, _, rest = path.partition("/")
    name = head + rest
    if len(head) != 2 or len(name) != 2 * DIGEST_SIZE or set(name) - set("0123456789abcdef"):  # noqa: PLR2004
        return None
    return bytes.fromhex(name)


def _without_user(url: str) -> str:
    head, at, rest = url.rpartition("@")
    return f"{head.partition('://')[0]}://***@{rest}" if at else url


def _first_line(error: Exception) -> str:
    """Return what an error says, without the driver's own structures that follow."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]


def _seconds(count: int) -> timedelta:
    from datetime import timedelta

    return timedelta(seconds=count)
