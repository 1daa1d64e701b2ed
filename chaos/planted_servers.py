"""The bugs in the stores that are servers, and the trial that is to catch each."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from chaos.contests import living
from chaos.killing import lab_on
from chaos.mutants_servers import PLANTED_ON_SERVERS
from chaos.outages import lab_behind_proxy
from chaos.outages import plan as plan_of
from chaos.plans import Kill, Plan, Verdict
from chaos.zombies import zombie

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from chaos.client import Forks
    from chaos.trials import Lab

    Trials = Callable[[Lab, Forks, str], Iterator[Verdict]]

JOBS = 6
TRIES = 8
MESSAGES = 80


def _killed(lab: Lab, forks: Forks, name: str) -> Iterator[Verdict]:
    with forks.twin() as twin:
        planted = lab.planted(name, twin)
        for count in range(3, 3 + TRIES):
            yield planted.run(Plan(f"{name}-{count}", (Kill(point="after_commit", count=count),), pace=0.003))


def _pruned(lab: Lab, forks: Forks, name: str) -> Iterator[Verdict]:
    """Remove another execution than the one that ran; what that one needs must stay."""
    plan = Plan(name, pace=0.003)
    verdict = Verdict(name)
    with forks.twin() as twin, lab.folder(name) as folder:
        planted = lab.planted(name, twin)
        for action in ("run", "prune"):
            status = planted.wait_or_kill(twin.start(planted.order(plan, folder, action)))
            verdict.story.append(f"{action} ended with {status}")
        facts = {"reference": lab.reference(plan.variant), "stages": []}
        planted.audit(folder, facts, verdict)
        yield verdict


def _living(lab: Lab, forks: Forks, name: str) -> Iterator[Verdict]:
    with forks.twin() as twin:
        for seed in range(TRIES):
            yield living(lab.planted(name, twin), seed)


def _zombies(lab: Lab, forks: Forks, name: str) -> Iterator[Verdict]:
    with forks.twin() as twin:
        for seed in range(TRIES):
            yield zombie(lab.planted(name, twin), seed)


def _cut(lab: Lab, forks: Forks, name: str) -> Iterator[Verdict]:
    with lab_behind_proxy(lab, forks, name) as planted:
        for number in range(1, MESSAGES):
            yield planted.run(plan_of("run", f"after:{number}"))


CAUGHT_BY: dict[str, tuple[str, Trials]] = {
    "drops_the_fence": ("I5", _zombies),
    "splits_the_commit": ("verify I6 I10", _cut),
    "minds_no_seq": ("I10", _cut),
    "forgets_its_commit": ("I6", _cut),
    "forgets_its_admission": ("I6", _cut),
    "answers_too_early": ("I1 I8", _killed),
    "trusts_its_own_clock": ("I7", _living),
    "takes_what_is_owned": ("I7", _living),
    "grants_the_same_epoch": ("I5 I6", _killed),
    "never_renews": ("I7", _living),
    "loses_the_refs": ("verify I10", _pruned),
}
"""By the name of a bug, but for the store: the invariants of which one is to be violated, and in which trials."""


def find(store: str, names: Iterable[str]) -> dict[str, str]:
    """Plant bugs in a store; see ``try_out``."""
    with lab_on(store) as (lab, forks):
        return try_out(lab, forks, names)


def try_out(lab: Lab, forks: Forks, names: Iterable[str], jobs: int = JOBS) -> dict[str, str]:
    """Plant bugs, each in processes of its own; return what was violated for each ('' if nothing was)."""
    with ThreadPoolExecutor(jobs) as pool:
        lab.reference("threads")
        for concurrency in (1, 4):
            lab.usual(Plan("usual", concurrency=concurrency, pace=0.003))
        looks = {name: pool.submit(_look, lab, forks, name) for name in names}
        return {name: look.result() for name, look in looks.items()}


def store_of(name: str) -> str:
    """Return in which store a bug is planted."""
    return name.partition("_")[0]


def _look(lab: Lab, forks: Forks, name: str) -> str:
    wanted, trials = CAUGHT_BY[name.partition("_")[2]]
    for verdict in trials(lab, forks, name):
        for found, text in verdict.violations:
            if found in wanted.split():
                return f"{found}: {text.splitlines()[0]}"
    return ""


def planted_in(store: str) -> list[str]:
    """Return the bugs for a store."""
    return [name for name in PLANTED_ON_SERVERS if store_of(name) == store]
