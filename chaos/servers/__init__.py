"""Servers of our own, to be stopped, killed and cut off: started without root, on 127.0.0.1, gone with this process."""

from __future__ import annotations


class ServerUnavailable(RuntimeError):
    """No server can be had here; the message says why (a reason to skip a test)."""
