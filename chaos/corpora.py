"""``python -m chaos.corpora COMMAND``: hostile and unusual content, through every door that reads or keeps it.

::

    python -m chaos.corpora values --examples 100000           values of all kinds, there and back
    python -m chaos.corpora ids --examples 20000               ids of all kinds, through every door
    python -m chaos.corpora records --mutants 10000            damaged and hostile records
    python -m chaos.corpora yaml --mutants 1000000             damaged pipeline files

Each ends with a summary, and exits 1 if anything was violated; every violation comes with the command to repeat it.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from chaos import content, names, records, texts

CAMPAIGNS = (content, names, records, texts)


def register(commands: Any) -> None:
    """Add all of them."""
    for campaign in CAMPAIGNS:
        campaign.register(commands)


def main() -> int:
    """Run one; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m chaos.corpora", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    register(parser.add_subparsers(dest="command", required=True))
    arguments = parser.parse_args()
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
