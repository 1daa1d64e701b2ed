"""Which addresses a request may go to: public ones, and those that the settings allow."""

from __future__ import annotations

import os
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from orchestrator.errors import TaskError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ALLOW_HOSTS = "ORCHESTRATOR_ALLOW_HOSTS"
"""Environment variable: hosts that requests may go to although their addresses are not public, separated by commas.

Each is a name, an address, a network (``10.0.0.0/8``) or ``*`` for all; ``:PORT`` after it narrows it to a port
(``[::1]:8080`` for an IPv6 address).
"""

_Address = IPv4Address | IPv6Address
_NAT64 = IPv6Network("64:ff9b::/96")
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")
_COMPATIBLE = IPv6Network("::/96")
_METADATA = frozenset({IPv4Address("168.63.129.16")})
"""Public by number, but answered by the machine's own cloud. Other clouds use link-local and private ones."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What ALLOW_HOSTS says: names (``*``: every one) and networks, each with a port (None: any)."""

    names: tuple[tuple[str, int | None], ...] = ()
    networks: tuple[tuple[IPv4Network | IPv6Network, int | None], ...] = ()

    def permits(self, host: str, address: _Address, port: int) -> bool:
        """Tell whether a host that has this address may be reached there although the address is not public."""
        host = host.lower().rstrip(".")
        return any(name in ("*", host) and only in (None, port) for name, only in self.names) or any(
            inner in network and only in (None, port) for network, only in self.networks for inner in _meant(address)
        )


def allowed_hosts(text: str | None = None) -> Allowed:
    """Read what ALLOW_HOSTS allows (``text`` in its place, if given).

    >>> allowed_hosts("db.local:5432").names
    (('db.local', 5432),)
    """
    names: list[tuple[str, int | None]] = []
    networks: list[tuple[IPv4Network | IPv6Network, int | None]] = []
    for part in (os.environ.get(ALLOW_HOSTS, "") if text is None else text).split(","):
        host, port = _split(part.strip())
        if not host:
            continue
        try:
            networks.append((ip_network(host, strict=False), port))
        except ValueError:
            names.append((host.lower().rstrip("."), port))
    return Allowed(tuple(names), tuple(networks))


def _split(entry: str) -> tuple[str, int | None]:
    host, colon, port = entry.rpartition(":")
    if not colon or not port.isdecimal() or (":" in host and not host.endswith("]")):
        return entry.strip("[]"), None
    return host.strip("[]"), int(port)


def why_not(address: _Address) -> str | None:
    """Return what kind of address it is that no request goes to unasked; None if it is a public one."""
    return next((kind for inner in _meant(address) if (kind := _kind(inner)) is not None), None)


def reachable(host: str, addresses: Sequence[str], port: int, allowed: Allowed) -> list[str]:
    """Return those of a host's addresses that may be connected to; raise TaskError if there are none."""
    good, reasons = [], []
    for text in dict.fromkeys(addresses):
        address = ip_address(text)
        kind = why_not(address)
        if kind is None or allowed.permits(host, address, port):
            good.append(text)
        else:
            reasons.append(f"{text} is {kind}")
    if not good:
        raise TaskError(
            f"{host!r} is not asked: {', '.join(reasons)}; requests go to public addresses only, "
            f"unless `allow_hosts` (or {ALLOW_HOSTS}) names the host, its address or network",
            kind="address",
            retryable=False,
        )
    return good


def _meant(address: _Address) -> Iterator[_Address]:
    """Yield an address and those that it stands for: an IPv6 address can carry an IPv4 one."""
    yield address
    if isinstance(address, IPv4Address):
        return
    for inner in (address.ipv4_mapped, address.sixtofour, address.teredo and address.teredo[1]):
        if inner is not None:
            yield inner
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        yield IPv4Address(int(address) & 0xFFFFFFFF)


def _kind(address: _Address) -> str | None:
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local:
        return "a link-local address, where clouds keep the credentials of their machines"
    if address in _METADATA:
        return "an address of the machine's cloud"
    if address.is_unspecified:
        return "the unspecified address"
    if address.is_multicast:
        return "a multicast address"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return None  # as what it stands for
        if address.is_site_local or address in _LOCAL_NAT64:
            return "a private address"
    return None if address.is_global else "a private or reserved address"
