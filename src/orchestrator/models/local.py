"""The models that servers on this machine offer."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from typing import Any

from orchestrator.models.registry import Model

SECONDS = 0.4
"""How long all servers together may take to answer."""

SERVERS = (
    ("ollama", 11434, "/api/tags", ""),
    ("openai", 1234, "/v1/models", "/v1"),  # LM Studio
    ("openai", 8080, "/v1/models", "/v1"),  # llama.cpp
    ("openai", 8000, "/v1/models", "/v1"),  # vLLM
)
"""Provider, port, where its models are listed, and the path of its base address."""

_HOST = "127.0.0.1"
_LARGEST_ANSWER = 1 << 18
_MOST_MODELS = 100
_LONGEST_NAME = 200


def find(servers: tuple[tuple[str, int, str, str], ...] = SERVERS) -> tuple[Model, ...]:
    """Ask the usual ports of the loopback interface, all at once, and return the models they list.

    Whatever does not answer in time, in size and in form offers none.
    """
    deadline = time.monotonic() + SECONDS
    found: list[list[Model]] = [[] for _ in servers]
    opened: list[socket.socket] = []
    threads: list[threading.Thread] = []
    for index, (provider, port, path, base) in enumerate(servers):
        with suppress(OSError):
            connection = socket.create_connection((_HOST, port), timeout=SECONDS / 4)
            opened.append(connection)
            asking = (connection, provider, f"http://{_HOST}:{port}", path, base, deadline, found[index])
            threads.append(threading.Thread(target=_ask, args=asking, daemon=True))
            threads[-1].start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    listed = tuple(model for models in found for model in list(models))
    for connection in opened:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)  # wakes a thread that still reads
        connection.close()
    return listed


def _ask(
    connection: socket.socket, provider: str, address: str, path: str, base: str, deadline: float, found: list[Model]
) -> None:
    with suppress(OSError, ValueError, RecursionError):
        host = address.partition("://")[2]
        request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\nConnection: close\r\n\r\n"
        connection.settimeout(max(0.01, deadline - time.monotonic()))
        connection.sendall(request.encode())
        names = _names(json.loads(_body(connection, deadline)))
        found += [Model(name, provider, address + base, name, None, local=True) for name in names]


def _body(connection: socket.socket, deadline: float) -> bytes:
    """Return the body of a good answer, read until the server closes or has sent what it announced."""
    data = b""
    while not _complete(data):
        left = deadline - time.monotonic()
        if left <= 0 or len(data) > _LARGEST_ANSWER:
            raise ValueError("too slow or too large")
        connection.settimeout(left)
        chunk = connection.recv(65536)
        if not chunk:
            break
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    if head.split(b" ", 2)[1:2] != [b"200"]:
        raise ValueError("no good answer")
    return _unchunked(body) if b"transfer-encoding: chunked" in head.lower() else body


def _complete(data: bytes) -> bool:
    head, separator, body = data.partition(b"\r\n\r\n")
    if not separator:
        return False
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(body) >= int(line.partition(b":")[2])
        if line.startswith(b"transfer-encoding:"):
            return body.endswith(b"0\r\n\r\n")
    return False


def _unchunked(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size.partition(b";")[0], 16)
        if length <= 0:
            break
        parts.append(rest[:length])
        body = rest[length + 2 :]
    return b"".join(parts)


def _names(answer: Any) -> list[str]:
    """Return the names in an answer of Ollama (``models``) or of an OpenAI-like server (``data``)."""
    if not isinstance(answer, dict):
        return []
    listed = answer.get("models") or answer.get("data")
    if not isinstance(listed, list):
        return []
    names = [item.get("name") or item.get("id") for item in listed[:_MOST_MODELS] if isinstance(item, dict)]
    return [name for name in names if isinstance(name, str) and name.isprintable() and 0 < len(name) <= _LONGEST_NAME]
