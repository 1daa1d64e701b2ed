"""The policy of what is kept: which executions have to go, and why.

Nothing is removed that is owned, waits in a queue, is paused, or can still be resumed, but for what a rule names by its
status. Deciding changes nothing; removing is interruptible, and a second time removes the rest.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.core.family import parents, with_descendants
from orchestrator.domain.ids import ExecutionId
from orchestrator.errors import ExecutionOwned, OrchestratorError, UnknownExecution, UsageError
from orchestrator.ports.store import Sizes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from orchestrator.ports.clock import Clock
    from orchestrator.ports.store import ExecutionSummary, Store
    from orchestrator.settings import Retention

_log = logging.getLogger("orchestrator.retention")

AT_ONCE = 20
"""So many are looked at once more and removed together; then others have their turn."""
TIDY_SECONDS = 600
DAY = 86400


class Removal(NamedTuple):
    """An execution that has to go, and why."""

    execution_id: ExecutionId
    reason: str


class _Doomed(NamedTuple):
    """An execution with all that its steps started: they go together."""

    family: tuple[ExecutionSummary, ...]
    reason: str

    @property
    def removals(self) -> list[Removal]:
        top = self.family[0].execution_id
        below = f"started by a step of {top}, which goes"
        return [Removal(each.execution_id, below if each.execution_id != top else self.reason) for each in self.family]


class _Budget:
    """What of a rule is used up by the executions it has decided about, newest first."""

    def __init__(self, rule: Retention, number: int) -> None:
        self.rule = rule
        self._name = f"rule {number}"
        self._count = 0
        self._bytes = 0

    def fits(self, summary: ExecutionSummary) -> bool:
        """Tell whether the rule decides about this one."""
        return summary.shown().status in self.rule.statuses and self.rule.pipeline_id in (None, summary.pipeline_id)

    def judge(self, summary: ExecutionSummary, now: float, size: int) -> str | None:
        """Return why it has to go; None if it stays."""
        rule = self.rule
        age = now - summary.updated_at
        if rule.keep_seconds is not None and age > rule.keep_seconds:
            days = f"{age / DAY:.1f} days ago, kept for {rule.keep_seconds / DAY:g}"
            return f"{self._name}: {summary.shown().status.value} {days}"
        self._count += 1
        if rule.max_count is not None and self._count > rule.max_count:
            return f"{self._name}: there are {rule.max_count} newer ones"
        self._bytes += size
        if rule.max_bytes is not None and self._bytes > rule.max_bytes:
            return f"{self._name}: with the newer ones it takes {self._bytes} bytes, {rule.max_bytes} may be"
        return None


async def exceeding(store: Store, rules: Sequence[Retention], now: float) -> list[Removal]:
    """Return what the rules do not keep, newest first. Raises UsageError for a budget where sizes are not known."""
    return [removal for each in await _doomed(store, rules, now) for removal in each.removals]


async def apply_retention(
    store: Store, rules: Sequence[Retention], now: float, forget: Callable[[str], None]
) -> list[Removal]:
    """Remove what the rules do not keep, with what ``forget`` removes beside the store; return what went.

    Sweeps values that nobody refers to, too. One that somebody took up or changed meanwhile stays.
    """
    doomed = await _doomed(store, rules, now)
    removed: list[Removal] = []
    for start in range(0, len(doomed), AT_ONCE):
        still = [each for each in doomed[start : start + AT_ONCE] if await _is_unchanged(store, each)]
        removed += await _remove(store, still, forget)
        await asyncio.sleep(0)
    if not removed:
        await store.remove([])  # what an interrupted removal left
    return removed


@asynccontextmanager
async def kept_tidy(
    store: Store, rules: Sequence[Retention], clock: Clock, forget: Callable[[str], None]
) -> AsyncIterator[None]:
    """Within: what the rules do not keep is removed, now and every ten minutes; a failure is logged."""
    task = asyncio.create_task(_tidy(store, rules, clock, forget)) if rules else None
    try:
        yield
    finally:
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _tidy(store: Store, rules: Sequence[Retention], clock: Clock, forget: Callable[[str], None]) -> None:
    while True:
        try:
            for removal in await apply_retention(store, rules, clock.now(), forget):
                _log.info("removed %s: %s", removal.execution_id, removal.reason)
        except (OrchestratorError, OSError) as error:
            _log.warning("retention: %s", error)
        await asyncio.sleep(TIDY_SECONDS)


async def _doomed(store: Store, rules: Sequence[Retention], now: float) -> list[_Doomed]:
    budgets = [_Budget(rule, number) for number, rule in enumerate(rules, 1)]
    families = await _families(store)
    decided = [
        (family, budget)
        for family in families
        for summary in family[:1]
        if all(map(_is_idle, family))
        and (budget := next((each for each in budgets if each.fits(summary)), None)) is not None
    ]
    weighed = [each.execution_id for family, budget in decided if budget.rule.max_bytes is not None for each in family]
    sizes: dict[ExecutionId, int] = {}
    if weighed:
        if not isinstance(store, Sizes):
            raise UsageError(f"the store {store.url} cannot tell sizes: leave max_bytes out of the retention rules")
        sizes = await store.sizes(weighed)
    found = []
    for family, budget in sorted(decided, key=lambda pair: pair[0][0].updated_at, reverse=True):
        reason = budget.judge(family[0], now, sum(sizes.get(each.execution_id, 0) for each in family))
        if reason is not None:
            found.append(_Doomed(family, reason))
    return found


async def _families(store: Store) -> list[tuple[ExecutionSummary, ...]]:
    """Return the executions of the store, each that has no parent with all below it; it stands first."""
    summaries = await store.summaries()
    children = await parents(store, summaries)
    by_name = {each.execution_id: each for each in summaries}
    families: dict[ExecutionId, list[ExecutionSummary]] = {}
    for top, name in with_descendants([name for name in by_name if name not in children], children):
        families.setdefault(top, []).append(by_name[name])
    return [tuple(family) for family in families.values()]


def _is_idle(summary: ExecutionSummary) -> bool:
    owned = summary.holder is not None and summary.holder.alive
    return not owned and not summary.waiting and summary.paused_by is None


async def _is_unchanged(store: Store, doomed: _Doomed) -> bool:
    for before in doomed.family:
        try:
            now = await store.summary(before.execution_id)
        except UnknownExecution:
            return False
        if not _is_idle(now) or (now.seq, now.status) != (before.seq, before.status):
            return False
    return True


async def _remove(store: Store, doomed: Sequence[_Doomed], forget: Callable[[str], None]) -> list[Removal]:
    """Remove these; those that somebody has just taken up stay."""
    removed: list[Removal] = []
    left = [(removal, each) for each in doomed for removal in each.removals]
    while left:
        names = [removal.execution_id for removal, _ in left]
        try:
            await store.remove(names)
            gone = len(names)
        except ExecutionOwned as error:
            gone = names.index(ExecutionId(error.execution_id))  # those before it are removed
        for removal, _ in left[:gone]:
            forget(removal.execution_id)
            removed.append(removal)
        taken = left[gone][1] if gone < len(left) else None
        left = [pair for pair in left[gone + 1 :] if pair[1] is not taken]
    return removed
