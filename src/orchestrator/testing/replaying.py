"""What an edit would do to a recorded execution: the plan, for a test to look at. Nothing is run or changed."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

from orchestrator.core.ledger import describe_owner
from orchestrator.core.system import SystemChance, SystemClock
from orchestrator.errors import NoCheckpoint, StoreUnavailable, UsageError
from orchestrator.orchestrator import Orchestrator
from orchestrator.settings import STORE_NAMES, load_settings
from orchestrator.testing.process import TestProcess, in_process, mortal_store

if TYPE_CHECKING:
    from orchestrator.domain.pipeline import Compiled, Pipeline
    from orchestrator.domain.plan import Plan
    from orchestrator.revisions import PlanOptions
    from orchestrator.settings import Settings


def replay(
    recorded: str | Path,
    execution_id: str | None,
    pipeline: Pipeline | Compiled | str | Path | None = None,
    /,
    **options: Unpack[PlanOptions],
) -> Plan:
    """Return what a resume of a recorded execution with this pipeline would do with each step, and why.

    ``recorded`` is a store's URL or name, or a file that ``orchestrator export`` wrote: that can be kept beside the
    tests. ``execution_id`` may be None where the file has but one. ``pipeline`` is the edited one, or where it is
    (None: the recorded one, so that only code, files and tools can have changed). ``options`` are those of
    ``Orchestrator.plan``. Takes no ownership, records nothing. Raises what ``plan`` raises, NoCheckpoint for an unknown
    execution, StoreUnavailable where there is no such store or file.
    """
    settings = load_settings()
    if pipeline is not None:
        options["pipeline"] = pipeline
    if _is_store(recorded):
        process = _reader(str(recorded))
        if execution_id is None:
            raise UsageError("execution_id: a store has many executions; name the one to replay")
    else:
        process = TestProcess(
            SystemClock(), SystemChance(), mortal_store(SystemClock(), SystemChance()), lambda real, _: real
        )

    async def ask(orchestrator: Orchestrator) -> Plan:
        name = execution_id
        if isinstance(orchestrator, TestProcess):
            name = await _load(orchestrator, Path(recorded), execution_id, settings)
        return await orchestrator.plan(name or "", **options)

    return in_process(process, ask, asyncio.run)


def verbs(plan: Plan) -> dict[str, str]:
    """Return what a plan does with each step: ``reuse``, ``rerun``, ``rerun?`` (only if what it is given differs), ...

    >>> from orchestrator.domain.plan import Decision, Plan, Verb
    >>> verbs(Plan((Decision("fetch", Verb.REUSE, "done"), Decision("report", Verb.RERUN, "new", (), True)), ()))
    {'fetch': 'reuse', 'report': 'rerun?'}
    """
    return {
        str(decision.task): f"{decision.verb.value}?" if decision.conditional else decision.verb.value
        for decision in plan.decisions
    }


def _is_store(recorded: str | Path) -> bool:
    return isinstance(recorded, str) and ("://" in recorded or recorded in STORE_NAMES)


def _reader(url: str) -> Orchestrator:
    """Return an orchestrator for a store that is there: looking must not make one."""
    from orchestrator.state.url import store_file

    orchestrator = Orchestrator(url)
    file = store_file(orchestrator.settings.store, project=orchestrator.settings.project)
    if file is not None and not file.exists():
        raise StoreUnavailable(f"there is no store at {orchestrator.store_url_shown}")
    return orchestrator


async def _load(process: TestProcess, file: Path, execution_id: str | None, settings: Settings) -> str:
    """Take an execution out of a file into the process's store, and return its id."""
    from orchestrator.state.moving import Mover
    from orchestrator.state.opening import sealing_of
    from orchestrator.state.unpacking import ArchiveReader

    clock = SystemClock()
    try:
        opened = file.open("rb")
    except OSError as error:
        raise StoreUnavailable(f"{file} cannot be read: {error.strerror or error}") from error
    with opened:
        contents = ArchiveReader(opened, sealing_of(settings), str(file)).contents()
        known: dict[str, Any] = {str(each.manifest.execution_id): each for each in contents.parcels}
        for refused in contents.refused:
            if execution_id is None or refused.execution_id in ("", execution_id):
                raise refused.error
        if execution_id is None and len(known) == 1:
            execution_id = next(iter(known))
        if execution_id is None or execution_id not in known:
            there = f"it has {', '.join(known) or 'none'}"
            if execution_id is None:
                raise UsageError(f"execution_id: name the execution of {file} to replay; {there}")
            raise NoCheckpoint(f"{file} has no execution {execution_id!r}; {there}")
        mover = Mover(process.store, clock, describe_owner(clock.now()), settings.lease)
        try:
            await mover.put(known[execution_id])
        finally:
            mover.close()
    return execution_id
