"""``python -m chaos COMMAND``: the long forms of what ``make test`` tries in short.

::

    python -m chaos simulate --seeds 1000000                   whole runs on a manual clock, led by seeds
    python -m chaos edits --seeds 10000                        random pipelines, edited at random and resumed
    python -m chaos language --seeds 2000                      the same with constructs in each other, and killed
    python -m chaos kills --trials 10000 --seed 1 --jobs 2     SIGKILL at random moments, resumes killed as well
    python -m chaos contest --resumers 8 --trials 100          many resumes at once
    python -m chaos zombies --trials 50                        stopped owners, robbed and woken
    python -m chaos servers --store postgres                   its server is killed under load, connections break
    python -m chaos faults                                     every file call goes wrong in every way
    python -m chaos powercut                                   the power fails after every file operation
    python -m chaos bitflips                                   every bit of a small store is wrong once
    python -m chaos values | records | ids | yaml              hostile and unusual content, through every door
    python -m chaos scale                                      100,000 steps, a million facts
    python -m chaos mutants                                    plants bugs, and says which check catches each
    python -m chaos proof --minutes 60                         all of it, and docs/proof.md anew

Each ends with a summary, and exits 1 if anything was violated; every violation comes with the command to repeat it.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from chaos import bitflips, corpora, edits, faults, killing, language, outages, planted, powercut, proof, scale
from chaos.simulation import command as simulation

MODULES: tuple[Any, ...] = (
    simulation,
    edits,
    language,
    killing,
    outages,
    faults,
    powercut,
    bitflips,
    corpora,
    scale,
    planted,
    proof,
)
"""The campaigns, each with ``register`` (see ``chaos.outcome``)."""


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    made = argparse.ArgumentParser(
        prog="python -m chaos", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = made.add_subparsers(dest="command", required=True)
    for module in MODULES:
        module.register(commands)
    return made


def main() -> int:
    """Run a command; return its exit code."""
    arguments = parser().parse_args()
    return int(arguments.run(arguments))


if __name__ == "__main__":
    sys.exit(main())
