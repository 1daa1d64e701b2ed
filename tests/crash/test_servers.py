"""The short form of ``python -m chaos kills|contest|zombies|adoption|servers --store postgres|redis``."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from chaos.adoption import adoption
from chaos.contests import contest
from chaos.killing import Campaign, Tally, Trial, kill, lab_on
from chaos.mutants_servers import PLANTED_ON_SERVERS
from chaos.outages import STORES, cuts, restarts
from chaos.planted_servers import CAUGHT_BY, planted_in, try_out
from chaos.servers import ServerUnavailable
from chaos.zombies import zombie

if TYPE_CHECKING:
    from chaos.client import Forks
    from chaos.trials import Lab

KILLS = 40
JOBS = 12

pytestmark = pytest.mark.chaos


@pytest.fixture(scope="module", params=STORES)
def ground(request: pytest.FixtureRequest) -> Iterator[tuple[Lab, Forks]]:
    try:
        lent = lab_on(request.param)
        lab, forks = lent.__enter__()
    except ServerUnavailable as error:
        pytest.skip(str(error))
    try:
        yield lab, forks
    finally:
        lent.__exit__(None, None, None)


def tried(ground: tuple[Lab, Forks], trial: Trial, seeds: range, command: str) -> Tally:
    lab, forks = ground
    again = f"python -m chaos {command} --store {lab.ground.kind}"
    made = Campaign(trial, seeds, lambda seed: f"{again} {'' if 'replay' in command else '--trials 1 --seed '}{seed}")
    made.run(lab, forks, JOBS)
    assert not made.tally.failures, "\n".join(made.tally.failures)
    assert made.tally.trials == len(seeds)
    return made.tally


def test_an_execution_killed_at_random_moments_ends_as_if_undisturbed(ground: tuple[Lab, Forks]) -> None:
    tally = tried(ground, kill, range(KILLS), "replay")
    assert tally.kills >= KILLS * 3 // 4, "most kills came too late to be any"


def test_of_many_resumes_at_once_one_proceeds(ground: tuple[Lab, Forks]) -> None:
    assert tried(ground, contest, range(10), "contest").notes["owned"] > 5


def test_a_stopped_owner_that_was_robbed_ends_and_changes_nothing(ground: tuple[Lab, Forks]) -> None:
    tried(ground, zombie, range(5), "zombies")


def test_a_server_adopts_what_a_dead_owner_left(ground: tuple[Lab, Forks]) -> None:
    assert tried(ground, adoption, range(6), "adoption").resumes >= 5


def test_runs_bear_with_a_server_that_is_killed_and_comes_back(ground: tuple[Lab, Forks]) -> None:
    lab, forks = ground
    orders = Namespace(store=lab.ground.kind, seed=1, trials=12, jobs=JOBS)
    tally, died = restarts(lab, forks, orders, None)
    assert not tally.failures, "\n".join(tally.failures)
    assert died >= 1


def test_runs_bear_with_a_connection_that_breaks_at_any_message(ground: tuple[Lab, Forks]) -> None:
    lab, forks = ground
    orders = Namespace(store=lab.ground.kind, step=17, jobs=JOBS, kinds=("before", "torn", "after", "answer"))
    shared = cuts(lab, forks, orders, time.monotonic() + 60)
    assert not shared.failures, "\n".join(shared.failures)
    assert not shared.unfinished()
    assert sum(sweep.struck for sweep in shared.sweeps) > 10


def test_a_bug_planted_in_the_store_is_caught(ground: tuple[Lab, Forks]) -> None:
    lab, forks = ground
    names = planted_in(lab.ground.kind)
    found = try_out(lab, forks, names, JOBS)
    assert len(names) >= 8
    assert [name for name in names if not found[name]] == []


def test_every_planted_bug_has_a_trial_that_is_to_catch_it() -> None:
    assert {name.partition("_")[2] for name in PLANTED_ON_SERVERS} == set(CAUGHT_BY)
