"""What a child process of a trial does: run, resume or audit one execution, and say how it ended.

It is forked from the warm server (``chaos.server``), or started afresh: ``python -m chaos.child ORDER``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import traceback
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chaos import checks, editing, nesting, workload
from chaos.effects import append
from chaos.files import Fault, watch
from chaos.mutants import MUTANTS
from chaos.mutants_disk import PLANTED
from chaos.mutants_servers import PLANTED_ON_SERVERS
from chaos.preload import PREFIX, LibcFault
from orchestrator import ExecutionOwned, LeaseLost, Orchestrator, OrchestratorError, crashpoints
from orchestrator.errors import UnknownExecution
from orchestrator.settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from orchestrator.core.ending import Result
    from orchestrator.core.engine import Engine
    from orchestrator.core.serving import Notice
    from orchestrator.domain.events import Event

EXECUTION = "trial"
RETRY_SECONDS = 0.05
READY = ".ready"
"""How the file is called by which a server says that it looks for work, after that for its answer."""
UNEXPECTED = 70
"""Exit code of a child that met an error which is none of the package's own."""


@dataclass(frozen=True)
class Order:
    """What a child shall do.

    ``action``: ``run``, ``resume``, ``submit``, ``serve``, ``prune`` (another execution than the trial's), ``audit``,
    ``look``, ``edit`` and ``nest`` (what ``facts`` say, see ``chaos.editing`` and ``chaos.nesting``). ``folder`` holds
    the trial's logs, ``store`` is the URL of its store. ``answer`` is the file for what it
    has to say. ``point`` is a crash point as in the environment variable (``NAME:N``). ``at`` (monotonic seconds) is
    when to begin: several children are let loose at once. ``pace`` is the length of a step in seconds. ``lease`` is
    how long an owner that is not heard of keeps the execution (0: as usual), ``patience`` for how long a resume tries
    again while it is refused because of that, both in seconds. ``mutant`` is a bug to plant (see ``chaos.mutants``).
    ``fault`` disturbs a file call (see ``chaos.files.Fault``).
    """

    action: str
    folder: str
    store: str
    answer: str
    variant: str = "threads"
    point: str = ""
    concurrency: int = 8
    pace: float = 0.001
    steal: bool = False
    at: float = 0.0
    lease: float = 0.0
    patience: float = 0.0
    mutant: str = ""
    fault: str = ""
    facts: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return it as one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Order:
        """Read what ``to_json`` wrote."""
        return cls(**json.loads(text))

    @property
    def log(self) -> Path:
        """Where steps log what they do."""
        return Path(self.folder, "effects.log")

    @property
    def told(self) -> Path:
        """Where the listener logs what it was told."""
        return Path(self.folder, "told.log")


class Listener:
    """Notes in a log what the engine tells: from then on the fact must never be lost."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def notify(self, event: Event, execution_id: str, seq: int) -> None:
        """Note the fact."""
        del execution_id
        append(self._path, os.getpid(), seq, type(event).__name__, getattr(event, "task", "-"), sync=False)

    def progress(self, execution_id: str, task: str, done: float | None, total: float | None, message: str) -> None:
        """Let it pass: it is no fact yet."""


def perform(order: Order) -> int:
    """Do what is ordered, write the answer, and return the exit code that the command line would end with."""
    answer: dict[str, Any] = {}
    try:
        code = asyncio.run(_perform(order, answer))
    except (OrchestratorError, LeaseLost) as error:
        code = error.exit_code
        answer["error"] = f"{type(error).__name__}: {error}"
    except BaseException:  # noqa: BLE001 - it must be told, and this process ends here
        code = UNEXPECTED
        answer["error"] = traceback.format_exc()
    answer["code"] = code
    if "fault" in answer:
        fault = answer["fault"]
        answer["fault"] = {"seen": fault.seen, "fired": fault.fired}
    if order.point:
        answer["passed"] = passed(int(order.point.partition(":")[2] or 1))
    answer["ended"] = time.monotonic()
    temporary = Path(order.answer + ".new")
    temporary.write_text(json.dumps(answer))
    temporary.rename(order.answer)
    return code


async def _perform(order: Order, answer: dict[str, Any]) -> int:
    if order.action == "audit":
        answer["violations"] = await checks.audit(Path(order.folder), order.store, order.facts)
        return 0
    if order.action == "look":
        answer["facts"] = await checks.look(Path(order.folder), order.store)
        return 0
    if order.mutant:
        (MUTANTS | PLANTED | PLANTED_ON_SERVERS)[order.mutant]()
    if order.action == "edit":
        return await editing.act(order, answer, [Listener(order.told)])
    if order.action == "nest":
        return await nesting.act(order, answer)
    if order.fault:
        answer["fault"] = _arm_fault(order.fault, Path(order.folder) / checks.STORE)
    while time.monotonic() < order.at:
        pass
    settings = load_settings()
    if order.lease:  # short, so that a trial need not wait long for one to run out
        settings = replace(settings, lease=order.lease)
    answer["began"] = time.monotonic()
    listeners = [Listener(order.told)]
    runner = Orchestrator(store=order.store, settings=settings, listeners=listeners, max_concurrency=order.concurrency)
    async with runner:
        result = await _work(runner, order, answer)
    if result is not None:
        answer["outputs"] = result.outputs
        answer["statuses"] = result.statuses
    return 0


async def _work(runner: Orchestrator, order: Order, answer: dict[str, Any]) -> Result | None:
    """Do what is ordered to the trial's execution, and return how it ended."""

    def admitted(engine: Engine) -> None:
        del engine
        answer["admitted"] = time.monotonic()

    inputs = {"log": str(order.log), "pace": order.pace}
    match order.action:
        case "run":
            pipeline = workload.make(order.variant)
            return await runner.run_pipeline(pipeline, inputs, execution_id=EXECUTION, admitted=admitted)
        case "submit":
            await runner.submit(workload.make(order.variant), inputs, execution_id=EXECUTION)
            return None
        case "prune":
            another = await runner.submit(workload.make(order.variant), inputs)
            await runner.state_manager.remove([another])
            return None
        case "serve":
            return await _serve(runner, Path(order.answer + READY), answer)
        case _:
            return await _resume(runner, order, answer, admitted)


async def _serve(runner: Orchestrator, ready: Path, answer: dict[str, Any]) -> Result:
    """Serve until the trial's execution has ended, here or elsewhere, and return how; note when it was taken."""

    def told(notice: Notice) -> None:
        if notice.kind == "taken":
            answer["taken"] = time.monotonic()
        answer.setdefault("notices", []).append(f"{notice.kind} {notice.text}")

    async def end() -> Result:
        while True:
            try:
                return await runner.wait(EXECUTION)
            except UnknownExecution:
                await asyncio.sleep(RETRY_SECONDS)

    serving = asyncio.ensure_future(runner.serve(adopt_runs=True, told=told))
    ending = asyncio.ensure_future(end())
    ready.touch()
    try:
        await asyncio.wait([serving, ending], return_when="FIRST_COMPLETED")
        return ending.result()
    finally:
        serving.cancel()
        ending.cancel()
        await asyncio.wait([serving, ending])


async def _resume(
    runner: Orchestrator, order: Order, answer: dict[str, Any], admitted: Callable[[Engine], None]
) -> Result:
    """Resume; while it is refused because the lease of a dead owner runs, try again."""
    end = time.monotonic() + order.patience
    while True:
        answer["began"] = time.monotonic()
        try:
            return await runner.resume_pipeline(EXECUTION, steal=order.steal, admitted=admitted)
        except ExecutionOwned:
            answer["refused"] = answer.get("refused", 0) + 1
            if time.monotonic() > end:
                raise
            await asyncio.sleep(RETRY_SECONDS)


def _arm_fault(fault: str, store: Path) -> Fault | LibcFault:
    if fault.startswith(PREFIX):
        return LibcFault(fault, store)
    made = Fault(fault)
    watch(made, store)
    return made


def arm(point: str) -> None:
    """Make this process kill itself at ``NAME:N``; only where the package was imported with some point wanted."""
    name, _, count = point.partition(":")
    state = vars(crashpoints)
    state["_name"] = name
    state["_left"][0] = int(count or 1)


def passed(limit: int) -> int:
    """Return how often the armed point was passed, which was armed with ``limit``."""
    left: int = vars(crashpoints)["_left"][0]
    return limit - left


if __name__ == "__main__":
    sys.exit(perform(Order.from_json(sys.argv[1])))
