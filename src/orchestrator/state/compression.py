"""Compression of records: zstd where it helps, and decompression that no record can abuse."""

from __future__ import annotations

import sys
from functools import cache
from typing import Any

RAW = 0
"""Codec id: the bytes as they are."""
ZSTD = 1
"""Codec id: one zstd frame."""

THRESHOLD = 512
"""Shorter data stays raw: it is small, and compressing it costs more than it saves."""
FREE_SIZE = 16 << 20
"""Up to this many bytes may come out of a frame of any size; beyond, at most ``MAX_RATIO`` times what goes in."""
MAX_RATIO = 1000

_LEVEL = 3


class CompressionError(ValueError):
    """Compressed data is not what its record declares."""


@cache
def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


def compress(data: bytes) -> tuple[int, bytes]:
    """Return the codec id and the bytes to store: ``data`` itself when short or when compressing does not pay."""
    if len(data) > THRESHOLD:
        packed: bytes = _zstd().compress(data, _LEVEL)
        if len(packed) < len(data) and not _is_bomb(len(packed), len(data)):
            return ZSTD, packed
    return RAW, data


def decompress(codec: int, data: bytes, raw_length: int) -> bytes:
    """Undo ``compress``; the result has exactly ``raw_length`` bytes, and no more are ever produced.

    The caller has held ``raw_length`` against its own limit. Raises CompressionError for anything else than what
    ``compress`` made of that many bytes.
    """
    if codec == RAW:
        if len(data) != raw_length:
            raise CompressionError(f"{len(data)} bytes where {raw_length} are declared")
        return data
    if codec != ZSTD:
        raise CompressionError(f"unknown compression {codec}")
    if _is_bomb(len(data), raw_length):
        raise CompressionError(f"{len(data)} compressed bytes declare {raw_length}: a compression bomb")
    zstd = _zstd()
    window_log = min(max(10, raw_length.bit_length()), 27)  # no frame of ours needs a larger window than its content
    decompressor = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: window_log})
    try:
        raw: bytes = decompressor.decompress(data, max_length=raw_length + 1)
    except zstd.ZstdError as error:
        raise CompressionError(f"decompression failed: {error}") from error
    if len(raw) != raw_length or not decompressor.eof:
        raise CompressionError(f"decompression yields other than the declared {raw_length} bytes")
    if decompressor.unused_data:
        raise CompressionError("trailing bytes after the compressed data")
    return raw


def _is_bomb(packed: int, raw: int) -> bool:
    return raw > FREE_SIZE and raw > MAX_RATIO * packed
