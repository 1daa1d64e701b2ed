"""The demo: run the flights pipeline, kill it with SIGKILL in the middle of a step, resume it, compare.

Then the second act: edit a threshold of the report, look at the plan, resume under the edited pipeline.
``make demo`` runs this. Everything it does is done by the ordinary command line, in two copies of this folder.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from orchestrator import Orchestrator
from orchestrator.domain.events import ExecutionStarted, TaskClaimed
from orchestrator.domain.execution import ExecutionState, TaskStatus
from orchestrator.settings import load_settings

HERE = Path(__file__).parent
FILES = ("pipeline.yaml", "flight_steps.py", "orchestrator.toml")
EXECUTION = "demo"
VICTIM = "daily"
KILL_AFTER = 150
"""How many of the 365 days must be safely saved before the kill."""
EDIT = ("mean_minutes: 45", "mean_minutes: 50")
AFFECTED = {"bad_days", "report"}
COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def main() -> int:
    """Run the demo; 0 when the resumed report equals the undisturbed one, and an edit runs only what it affects."""
    if len(sys.argv) > 2:
        print("usage: python demo.py [FOLDER]", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo-output").absolute()
    undisturbed, interrupted = (_copy(folder / name) for name in ("undisturbed", "interrupted"))

    say("1", "An undisturbed run, for comparison")
    subprocess.run(command("run", "pipeline.yaml", "--execution-id", EXECUTION), cwd=undisturbed, check=True)

    say("2", f"The same again, and SIGKILL in the middle of the step {VICTIM!r}")
    saved = run_and_kill(interrupted)

    say("3", f"orchestrator resume {EXECUTION}")
    started = time.time()
    subprocess.run(command("resume", EXECUTION), cwd=interrupted, check=True)

    say("4", "What happened")
    going = asyncio.run(time_to_first_claim(interrupted, started))
    mine, other = (_digest(place / "report.html") for place in (interrupted, undisturbed))
    state = asyncio.run(_state(interrupted))
    again = [str(name) for name, task in state.tasks.items() if task.attempt > 1]
    print(f"  killed       after {saved} of 365 days of {VICTIM!r} were saved")
    print(f"  ran twice    {', '.join(again) or 'nothing'}; every other finished step was reused")
    print(f"  going again  {going:.2f} s after `resume` was typed")
    print(f"  report       {'equal to the byte' if mine == other else 'DIFFERENT'} ({mine[:16]}, {other[:16]})")
    print(f"\n  Look at it: {interrupted / 'report.html'}")
    if mine != other:
        return 1
    print(green("\n  Nothing lost, nothing repeated that was recorded."))
    return edit_and_go_on(interrupted)


def edit_and_go_on(place: Path) -> int:
    """Edit the pipeline of a completed execution and resume under it; 0 if exactly what is affected ran again."""
    before, after = EDIT
    say("5", f"Now the report is to name fewer days: {before} becomes {after.split()[-1]}")
    text = (place / "pipeline.yaml").read_text("utf-8")
    if before not in text:
        raise SystemExit(f"pipeline.yaml has no {before!r}")
    (place / "edited.yaml").write_text(text.replace(before, after), "utf-8")
    known = asyncio.run(_state(place))
    days = asyncio.run(_bad_days(place))
    subprocess.run(command("plan", EXECUTION, "--pipeline", "edited.yaml"), cwd=place, check=True)

    say("6", f"orchestrator resume {EXECUTION} --pipeline edited.yaml")
    started = time.time()
    subprocess.run(command("resume", EXECUTION, "--pipeline", "edited.yaml"), cwd=place, check=True)
    took = time.time() - started

    say("7", "What happened")
    state = asyncio.run(_state(place))
    ran = {str(name) for name, task in state.tasks.items() if task.attempt > known.tasks[name].attempt}
    print(
        f"  ran again    {', '.join(sorted(ran)) or 'nothing'}; {len(state.tasks) - len(ran)} other steps were reused"
    )
    print(f"  worst days   {asyncio.run(_bad_days(place))} in the report; {days} before")
    print(f"  all of it    {took:.2f} s, the start of the program included")
    if ran != AFFECTED:
        print(f"\n  WRONG: {', '.join(sorted(AFFECTED))} should have run, and nothing else", file=sys.stderr)
        return 1
    print(green("\n  What the edit does not affect is kept; what it does was told beforehand.\n"))
    return 0


def command(*arguments: str) -> list[str]:
    """Return the ordinary command line, by this very Python."""
    return [sys.executable, "-m", "orchestrator", *arguments]


def _copy(place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name in FILES:
        shutil.copy(HERE / name, place / name)
    return place


def run_and_kill(place: Path) -> int:
    """Run until enough days are saved, then SIGKILL the process; return how many days its store holds."""
    child = subprocess.Popen(command("run", "pipeline.yaml", "--execution-id", EXECUTION), cwd=place)
    try:
        asyncio.run(_wait_for_days(place, child))
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    if COLOUR:
        print("\033[?25h", end="")  # the killed process could not give the cursor back
    days = asyncio.run(_saved_days(place))
    print(f"\n  SIGKILL. No goodbye, no cleanup. {days} of 365 days of {VICTIM!r} are in the store.")
    return days


async def _wait_for_days(place: Path, child: subprocess.Popen[bytes]) -> None:
    while child.poll() is None:
        if (place / ".orchestrator" / "store.db").exists() and await _saved_days(place) >= KILL_AFTER:
            return
        await asyncio.sleep(0.05)
    raise SystemExit(f"the run ended before it could be killed (exit {child.returncode})")


async def _saved_days(place: Path) -> int:
    async with Orchestrator(settings=load_settings(cwd=place)) as orchestrator:
        if not await orchestrator.list_executions():
            return 0
        task = (await orchestrator.get_state(EXECUTION)).tasks[VICTIM]
        if task.status is TaskStatus.COMPLETED:
            return 365
        return int(task.progress[0] or 0) if task.progress is not None else 0


async def _state(place: Path) -> ExecutionState:
    async with Orchestrator(settings=load_settings(cwd=place)) as orchestrator:
        return await orchestrator.get_state(EXECUTION)


async def _bad_days(place: Path) -> int:
    async with Orchestrator(settings=load_settings(cwd=place)) as orchestrator:
        return int((await orchestrator.get_result(EXECUTION, "report"))["bad_days"])


async def time_to_first_claim(place: Path, started: float) -> float:
    """Return the seconds from typing `resume` to the first step that it began, by the journal's own times."""
    async with Orchestrator(settings=load_settings(cwd=place)) as orchestrator:
        resumed = False
        async for _seq, event in orchestrator.facts(EXECUTION):
            resumed = resumed or (isinstance(event, ExecutionStarted) and event.resumed)
            if resumed and isinstance(event, TaskClaimed):
                return event.at - started
    raise SystemExit("the resume began no step")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def say(number: str, text: str) -> None:
    """Print a heading."""
    print(f"\n\033[1m{number}. {text}\033[0m\n" if COLOUR else f"\n{number}. {text}\n", flush=True)


def green(text: str) -> str:
    """Return the text in green, in a terminal."""
    return f"\033[32m{text}\033[0m" if COLOUR else text


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except subprocess.CalledProcessError as error:
        raise SystemExit(error.returncode) from None  # the command has said what is wrong
