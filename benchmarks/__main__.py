"""``python -m benchmarks [CASE...]``: measure, print, and (for the full set) write docs/benchmarks.md."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Callable
from functools import partial

import apsw

import orchestrator
from benchmarks.cases import CASES as ON_FILES
from benchmarks.cases import ROOT, Row
from benchmarks.servers import SERVERS, on_server

CASES: dict[str, Callable[[], list[Row]]] = {**ON_FILES, **{kind: partial(on_server, kind) for kind in SERVERS}}
PAGE = ROOT / "docs" / "benchmarks.md"


def main() -> int:
    """Measure the named cases, or all; return the number of goals missed (for the shell: 0 is good)."""
    names = sys.argv[1:] or list(CASES)
    unknown = [name for name in names if name not in CASES]
    if unknown:
        print(f"no case named {', '.join(unknown)}; there are {', '.join(CASES)}", file=sys.stderr)
        return 2
    rows: list[Row] = []
    for name in names:
        print(f"{name} ...", file=sys.stderr, flush=True)
        for row in CASES[name]():
            rows.append(row)
            print(f"  {row.what}: {row.measured}  (goal {row.goal or 'none'}){_mark(row)}", flush=True)
    if not sys.argv[1:]:
        PAGE.write_text(_page(rows), "utf-8")
        print(f"wrote {PAGE.relative_to(ROOT)}", file=sys.stderr)
    return 0


def _mark(row: Row) -> str:
    return "" if row.reached is None else "  ok" if row.reached else "  MISSED"


def _page(rows: list[Row]) -> str:
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`. Every figure stands beside the raw floor of the same store, measured in the same",
        "minute on the same disk, because machines differ and this one is shared: read the ratios.",
        "",
        f"Measured {time.strftime('%Y-%m-%d', time.gmtime())} on {_machine()}.",
        "",
        "| what | measured | goal | reached | floor |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        reached = "" if row.reached is None else "yes" if row.reached else "**no**"
        lines.append(f"| {row.what} | {row.measured} | {row.goal} | {reached} | {row.floor} |")
    lines += [
        "",
        "Durable means WAL and `synchronous=FULL`: every acknowledged step survives a power cut. `durability: process`",
        "gives up the fsync: every acknowledged step survives `kill -9`, not a power cut.",
        "",
        f"One case alone: `python -m benchmarks CASE` ({', '.join(CASES)}); the full set writes this page.",
        "",
    ]
    return "\n".join(lines)


def _machine() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} {platform.machine()}, "
        f"CPython {platform.python_version()}, SQLite {apsw.sqlite_lib_version()} (apsw), "
        f"durable-orchestrator {orchestrator.__version__}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
