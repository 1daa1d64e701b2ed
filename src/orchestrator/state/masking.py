"""URLs without their secrets, for messages."""

from __future__ import annotations

import re

_SECRET_OPTION = re.compile(r"(?i)([?&](?:[a-z_]*password|passfile)=)[^&#]*")


def mask(url: str) -> str:
    """Return the URL with a password in it, or in its options, replaced by ``***``.

    >>> mask("postgresql://me:secret@host/db?sslpassword=secret")
    'postgresql://me:***@host/db?sslpassword=***'
    """
    head, separator, rest = url.partition("://")
    place, mark, options = rest.partition("?")
    login, at, host = place.rpartition("@")
    if separator and at and not rest.startswith("/"):  # a slash or an @ may stand in a password that was not encoded
        url = f"{head}://{login.split(':')[0]}:***@{host}{mark}{options}"
    return _SECRET_OPTION.sub(r"\1***", url)
