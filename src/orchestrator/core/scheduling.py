"""Schedules: makes an execution of each time that comes, whichever of many processes is first.

The id of such an execution is its pipeline's and the time, so that the store itself sees to it that a time is decided
once; the decision is the execution. One that is to be skipped is recorded as cancelled, with the reason. One that has
to wait for an earlier one is created without a place in a queue, and given one when its turn comes. Nothing else is
kept: what a server has to know when it starts, it reads from the list of executions.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from orchestrator.core.cancelling import cancel_execution
from orchestrator.core.fleet import UNENDED
from orchestrator.domain.execution import ExecutionStatus
from orchestrator.domain.ids import ExecutionId
from orchestrator.domain.schedule import (
    MOST_AT_ONCE,
    Catchup,
    Overlap,
    due,
    local_text,
    scheduled_id,
    scheduled_time,
)
from orchestrator.errors import DefinitionError, ExecutionExists, ExecutionOwned, ResumeError, UnknownExecution
from orchestrator.ports.store import ENDED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from orchestrator.core.adapters import Adapters
    from orchestrator.core.live import LiveExecutions
    from orchestrator.domain.pipeline import Pipeline
    from orchestrator.domain.plan import Source
    from orchestrator.domain.schedule import Schedule
    from orchestrator.ports.store import ExecutionSummary, Place

_log = logging.getLogger("orchestrator.server")

LOOK_AGAIN_SECONDS = 5.0
"""So often a definition's file is looked at for changes."""
MINUTE = 60
BY = "the schedule"
NEWEST = 200
"""Among so many of a pipeline's executions one that a schedule made is looked for first."""
_OPEN = tuple(status for status in UNENDED if status not in ENDED)
"""Those that failed or were cancelled may be many, and are none to wait for: taken up again, one is running."""


class Tell(Protocol):
    """Hears what is done: its kind, the execution (or nothing), and words."""

    def __call__(self, kind: str, execution_id: str, text: str, /) -> None:
        """Hear it."""


class Scheduled(NamedTuple):
    """A pipeline with a schedule, where it came from, and the inputs that a run for a time (as text) is given."""

    pipeline: Pipeline
    schedule: Schedule
    source: Source
    inputs: Callable[[str], dict[str, Any]]


class Definition(Protocol):
    """Where a scheduled pipeline comes from."""

    def current(self) -> Scheduled:
        """Return it as it is now; raise DefinitionError if what is there cannot be used."""


class Scheduler:
    """Serves schedules, for a server that calls ``look`` again and again; ``tell`` hears what it does.

    Executions are given ``place``. Whatever fails in the store is raised, and tried again with the next look.
    """

    def __init__(
        self,
        adapters: Adapters,
        live: LiveExecutions,
        definitions: Sequence[Definition],
        place: Place,
        *,
        tell: Tell,
    ) -> None:
        self._clock = adapters.clock
        self._lines = [_Line(adapters, live, definition, place, tell) for definition in definitions]

    def wait_seconds(self) -> float:
        """Return how long there is nothing to do for any schedule, as far as clocks tell."""
        now = self._clock.now()
        return min((max(0.0, line.following - now) for line in self._lines if line.following is not None), default=1e9)

    async def look(self) -> bool:
        """Decide about the times that have come, and let those go that waited; True if anything was made of it."""
        made = False
        for line in self._lines:
            made |= await line.look()
        return made


class _Line:
    """One schedule, and how far it was served. ``following`` is when its next time comes (None: never, or unknown)."""

    def __init__(
        self,
        adapters: Adapters,
        live: LiveExecutions,
        definition: Definition,
        place: Place,
        tell: Tell,
    ) -> None:
        self._adapters = adapters
        self._live = live
        self._definition = definition
        self._place = place
        self._tell = tell
        self._now = definition.current()
        self._looked = adapters.clock.monotonic()
        self._fault = ""
        self._last: float | None = None
        self._waits = True
        self._asked: set[str] = set()
        self.following: float | None = None

    async def look(self) -> bool:
        """Do what is to be done now; True if anything was."""
        await self._reread()
        if self._last is None:
            await self._begin()
        now = self._adapters.clock.now()
        made = self.following is not None and now >= self.following
        if made:
            await self._serve(now)
        return (self._waits and await self._let_go()) or made

    async def _reread(self) -> None:
        """Take up an edited definition; go on with the last good one while the file is wrong, and say so."""
        since = self._adapters.clock.monotonic()
        if since - self._looked < LOOK_AGAIN_SECONDS:
            return
        self._looked = since
        try:
            found = await asyncio.to_thread(self._definition.current)
        except DefinitionError as error:
            if str(error) != self._fault:
                self._fault = str(error)
                self._tell("trouble", "", f"{error}; the schedule goes on with what the file said before")
            return
        self._fault = ""
        if found.pipeline != self._now.pipeline:
            before, self._now = self._now, found
            if before.pipeline.id != found.pipeline.id:
                self._last = None
            elif self._last is not None:
                self._plan_ahead(self._adapters.clock.now())
            self._tell("reread", "", f"the definition of {found.pipeline.id} has changed, and holds from now on")

    async def _begin(self) -> None:
        """Find out how far the schedule was served; where it never was, it is from now on."""
        pipeline, schedule, source, inputs = self._now
        now = self._adapters.clock.now()
        last = await self._newest()
        if last is None:
            last = now
            if schedule.catchup is not Catchup.NONE:  # what will be missed from here on has to be known
                start = now - now % MINUTE
                name = scheduled_id(pipeline.id, start)
                by = f"{BY}: it is served from here on"
                with contextlib.suppress(ExecutionExists):
                    await self._live.lay_by(pipeline, inputs(local_text(schedule, start)), name, source, dropped_by=by)
        self._last = last
        self.following = (await asyncio.to_thread(due, schedule, last, last)).following
        following = "never" if self.following is None else local_text(schedule, self.following)
        self._tell("schedule", "", f"{pipeline.id}, next {following}")

    async def _newest(self) -> float | None:
        """Return the latest time that is decided, as far as the store knows; None if none is.

        Looks at the newest executions first. Were it misled by many made by hand, for old times: ids are there once.
        """
        name, store = self._now.pipeline.id, self._adapters.store
        for limit in (NEWEST, None):
            known = await store.summaries(pipeline_id=name, limit=limit)
            times = [at for one in known if (at := scheduled_time(name, one.execution_id)) is not None]
            if times:
                return max(times)
        return None

    def _plan_ahead(self, now: float) -> None:
        last = now if self._last is None else max(self._last, now)
        self._last, self.following = last, due(self._now.schedule, last, last).following

    async def _serve(self, now: float) -> None:
        """Decide about the times that have come up to now."""
        pipeline, schedule = self._now.pipeline, self._now.schedule
        found = await asyncio.to_thread(due, schedule, self._last or 0.0, now)
        if found.passed and (last := await self._newest()) is not None and last > (self._last or 0.0):
            self._last = last  # this server stood still, others did not
            found = await asyncio.to_thread(due, schedule, last, now)
        if found.passed:
            times = "1 time" if found.passed == 1 else f"{found.passed:,} times"
            text = (
                f"{times} of {pipeline.id} came while nobody served the schedule: not run (catchup: {schedule.catchup})"
            )
            self._tell("missed", "", text)
        before = [] if schedule.overlap is Overlap.ALLOW or not found.times else await self._unended()
        names = [str(one.execution_id) for one in before]
        for at in found.times:
            earlier = [name for name in names if name < scheduled_id(pipeline.id, at)]
            if await self._fire(at, earlier):
                names.append(scheduled_id(pipeline.id, at))
            self._last = at  # so that a store that goes away in between does not make us begin anew
        self._last, self.following = max(now, self._last or now), found.following

    async def _fire(self, at: float, earlier: Sequence[str]) -> bool:
        """Decide about one time, unless somebody has; True if there is something now that others may wait for."""
        pipeline, schedule, source, inputs = self._now
        name = scheduled_id(pipeline.id, at)
        text = local_text(schedule, at)
        given = inputs(text)
        free = schedule.overlap is Overlap.ALLOW or not earlier
        skipped = None
        if not free and schedule.overlap is Overlap.SKIP:
            skipped = f"{BY}: {earlier[-1]} had not ended (overlap: skip)"
        elif not free and len(earlier) >= MOST_AT_ONCE:
            skipped = f"{BY}: {len(earlier):,} were waiting already"
        try:
            if free:
                await self._live.submit(pipeline, given, name, self._place, source)
                self._tell("scheduled", name, f"for {text}")
            else:
                await self._live.lay_by(pipeline, given, name, source, dropped_by=skipped)
                self._waits = True
                kind, told = ("waits", f"for the end of {earlier[-1]}") if skipped is None else ("skipped", skipped)
                self._tell(kind, name, told)
        except ExecutionExists:
            _log.debug("%s: decided elsewhere", name)
            self._waits = True
        return skipped is None

    # -- those that wait for an earlier one ----------------------------------------------------------------------

    async def _unended(self) -> list[ExecutionSummary]:
        """Return the executions of this schedule that have not ended, in the order of their times."""
        pipeline_id = self._now.pipeline.id
        found: dict[str, ExecutionSummary] = {}
        for status in (*_OPEN, *_OPEN):  # twice: one that changes its status between two questions is missed by neither
            for one in await self._adapters.store.summaries(pipeline_id=pipeline_id, status=status):
                if scheduled_time(pipeline_id, one.execution_id) is not None:
                    found[one.execution_id] = one
        return [found[name] for name in sorted(found)]  # their ids are in the order of their times

    async def _let_go(self) -> bool:
        """Give those a place whose turn has come; True if one was given."""
        overlap = self._now.schedule.overlap
        unended = await self._unended()
        waiting = [one for one in unended if _is_laid_by(one)]
        made = False
        if waiting and overlap is Overlap.CANCEL:
            await self._cancel(one for one in unended if one.execution_id < waiting[-1].execution_id)
        for one in waiting if overlap is Overlap.ALLOW else waiting[:1]:
            if (overlap is Overlap.ALLOW or one is unended[0]) and one.paused_by is None:
                made |= await self._enqueue(one.execution_id)
        self._waits = bool(waiting)
        return made

    async def _enqueue(self, name: ExecutionId) -> bool:
        """Give an execution its place, unless somebody has: asked again under its lease, so that none runs twice."""
        store = self._adapters.store
        try:
            if not _is_laid_by(await store.summary(name)):
                return False
            recorder = await self._live.borrow(name)
        except (ExecutionOwned, UnknownExecution):
            return False
        except ResumeError as error:  # it cannot be read, by whomever: that is for a person to see
            await store.request_pause(name, f"{BY}: {error}")
            self._tell("trouble", name, str(error))
            return False
        try:
            summary = await store.summary(name)
            if not _is_laid_by(summary) or summary.paused_by is not None:
                return False
            await store.enqueue(name, self._place)
        finally:
            await self._live.give_back(recorder)
        self._tell("scheduled", name, "those before it have ended")
        return True

    async def _cancel(self, earlier: Any) -> None:
        for one in earlier:
            name = one.execution_id
            if name in self._asked:
                continue
            try:
                await cancel_execution(
                    self._adapters, self._live, name, f"{BY}: a later time came (overlap: cancel)", 0
                )
            except (ResumeError, UnknownExecution):
                continue
            self._asked.add(name)
            self._tell("cancelling", name, "a later time came (overlap: cancel)")


def _is_laid_by(one: ExecutionSummary) -> bool:
    return one.status is ExecutionStatus.CREATED and one.place is None
