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
    if separator and "@" in rest.split("/")[0]:
        user = rest.split("@", maxsplit=1)[0].split(":")[0]
        url = f"{head}://{user}:***@{rest.rsplit('@', maxsplit=1)[-1]}"
    return _SECRET_OPTION.sub(r"\1***", url)
