"""``python -m chaos proof``: every campaign for its share of the time, then docs/proof.json and docs/proof.md anew."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos.campaigns import CAMPAIGNS, Campaign
from chaos.page import EVIDENCE, evidence, render

if TYPE_CHECKING:
    import argparse

ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs" / "proof.json"
PAGE = ROOT / "docs" / "proof.md"
README = ROOT / "README.md"
SIDE_BY_SIDE = 6
"""How many trials on a server take as long as one elsewhere: most of the time they wait for a lease to run out."""
TAIL = 2000
"""How much of what a campaign that broke down had printed is kept."""


def load() -> dict[str, Any]:
    """Return what the campaigns found last: name -> its outcome."""
    found: dict[str, Any] = json.loads(DATA.read_text()) if DATA.exists() else {}
    return found


def save(data: dict[str, Any]) -> None:
    """Write the data, the page that follows from it, and the sentence of the README."""
    DATA.write_text(json.dumps(data, indent=1) + "\n")
    PAGE.write_text(render(data))
    lines = README.read_text("utf-8").splitlines()
    README.write_text("\n".join(evidence(data) if line.startswith(EVIDENCE) else line for line in lines) + "\n")


def command_of(campaign: Campaign, arguments: argparse.Namespace, seconds: float) -> list[str]:
    """Return the command of a campaign, without the interpreter."""
    jobs = arguments.jobs * (SIDE_BY_SIDE if campaign.store else 1)
    command = [campaign.command, *campaign.arguments, "--seconds", f"{seconds:.0f}", "--jobs", str(jobs)]
    return [*command, "--seed", str(arguments.seed)]


def _run(campaign: Campaign, arguments: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """Run one campaign in a process of its own; one that breaks down is a failure of its own kind."""
    with tempfile.TemporaryDirectory(prefix="proof-") as folder:
        answer = Path(folder, "outcome.json")
        output = Path(folder, "output")
        command = command_of(campaign, arguments, seconds)
        began = time.monotonic()
        with output.open("w") as out:
            child = subprocess.Popen(
                [sys.executable, "-m", "chaos", *command, "--json", str(answer)],
                cwd=ROOT,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
            try:
                while child.poll() is None:
                    _progress(campaign, time.monotonic() - began, seconds)
                    time.sleep(0.5)
            except BaseException:
                child.kill()
                child.wait()
                raise
        if answer.exists():
            outcome: dict[str, Any] = json.loads(answer.read_text())
        else:
            text = output.read_text()[-TAIL:]
            outcome = {"name": campaign.name, "tried": {}, "notes": {}, "failures": [f"it broke down:\n{text}"]}
            outcome |= {"violations": 1, "seconds": time.monotonic() - began, "seed": None, "versions": {}}
    outcome["command"] = "python -m chaos " + " ".join(command)
    outcome["date"] = datetime.now(UTC).strftime("%Y-%m-%d")
    return outcome


def _progress(campaign: Campaign, passed: float, seconds: float) -> None:
    if sys.stdout.isatty():
        print(f"\r{campaign.name:16} {passed:6.0f} of about {seconds:.0f} s ", end="", flush=True)


def campaign(arguments: argparse.Namespace) -> int:
    """Run all campaigns, or those that are asked for; return the exit code."""
    data = load()
    for file in arguments.take:
        outcome = json.loads(file.read_text())
        outcome["command"] = outcome["command"].partition(" --json")[0]
        data[_name_of(outcome)] = outcome | {"date": datetime.now(UTC).strftime("%Y-%m-%d")}
    if arguments.take or arguments.page_only:
        save(data)
        return 0
    names = arguments.only.split(",") if arguments.only else [each.name for each in CAMPAIGNS]
    unknown = set(names) - {each.name for each in CAMPAIGNS}
    if unknown:
        print(f"no campaign named {', '.join(sorted(unknown))}; there are {', '.join(each.name for each in CAMPAIGNS)}")
        return 2
    wanted = [each for each in CAMPAIGNS if each.name in names]
    shares = sum(each.share for each in wanted)
    broken = 0
    try:
        for each in wanted:
            seconds = max(5.0, 60 * arguments.minutes * each.share / shares)
            outcome = _run(each, arguments, seconds)
            data[each.name] = outcome
            save(data)
            tried = ", ".join(f"{often:,} {what}" for what, often in list(outcome["tried"].items())[:2])
            print(
                f"\r{each.name:16} {outcome['seconds']:6.0f} s  {outcome['violations']} violations  {tried}", flush=True
            )
            broken += bool(outcome["violations"])
    except KeyboardInterrupt:
        print("\nstopped; what had ended by then is in docs/proof.md")
        return 130
    return 1 if broken else 0


def _name_of(outcome: dict[str, Any]) -> str:
    """Return under which name an outcome is known: that of its command, and of the store if there are several."""
    words = outcome["command"].split()
    store = words[words.index("--store") + 1] if "--store" in words else ""
    names = [each.name for each in CAMPAIGNS if each.command == outcome["name"] and each.store in ("", store)]
    return names[-1]


def register(commands: Any) -> None:
    """Add the command (see ``chaos.outcome``)."""
    parser: argparse.ArgumentParser = commands.add_parser("proof", help="run every campaign and write docs/proof.md")
    parser.add_argument("--minutes", type=float, default=60.0, help="how long all of it takes, about")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", metavar="NAME,...", help="these campaigns; what is known of the others stays")
    parser.add_argument(
        "--take", type=Path, nargs="+", default=[], metavar="FILE", help="what campaigns wrote by --json"
    )
    parser.add_argument("--page-only", action="store_true", help="write the page from what is known")
    parser.set_defaults(run=campaign)
