"""The page of evidence is what the campaigns found, and each of its commands exists."""

from __future__ import annotations

import re
import shlex

from chaos.__main__ import MODULES, parser
from chaos.campaigns import CAMPAIGNS, INVARIANTS, RESTARTS, SERVERS, STORES
from chaos.page import headline, render
from chaos.planted import all_bugs
from chaos.proof import DATA, PAGE, load
from tests.docs.blocks import ROOT

NOT_CAMPAIGNS = {"replay", "proof"}


def commands() -> set[str]:
    (choices,) = [set(action.choices) for action in parser()._actions if action.dest == "command" and action.choices]
    return choices


def test_the_page_is_what_the_data_says() -> None:
    assert PAGE.read_text("utf-8") == render(load()), "run: python -m chaos proof --page-only"


def test_every_campaign_is_on_the_page_and_has_run() -> None:
    assert commands() - NOT_CAMPAIGNS == {campaign.command for campaign in CAMPAIGNS}
    assert set(load()) == {campaign.name for campaign in CAMPAIGNS}
    assert len(MODULES) > 5


def test_every_command_on_the_page_is_one() -> None:
    found = re.findall(r"^\s*python -m chaos (.+)$", PAGE.read_text("utf-8"), re.MULTILINE)
    assert len(found) >= len(CAMPAIGNS)
    for command in found:
        assert parser().parse_args(shlex.split(command)).run


def test_nothing_on_the_page_is_violated_and_enough_was_tried() -> None:
    data = load()
    assert [name for name, outcome in data.items() if outcome["violations"]] == []
    assert data["kills"]["tried"]["trials"] >= 1000
    assert data["kills"]["tried"]["of them of a resume"] >= data["kills"]["tried"]["trials"] / 10
    for store in SERVERS:
        assert data[f"kills-{store}"]["tried"]["trials"] >= 1000
        assert data[f"kills-{store}"]["tried"]["of them of a resume"] >= 100
        assert data[f"contest-{store}"]["tried"]["trials"] >= 200
        assert data[f"zombies-{store}"]["tried"]["trials"] >= 200
        assert data[f"servers-{store}"]["tried"][RESTARTS] > 0
    assert all(data[f"adoption-{store}"]["tried"]["trials"] >= 50 for store in STORES)
    assert data["simulate"]["tried"]["seeds"] >= 20_000
    assert data["mutants"]["tried"]["bugs caught"] == len(all_bugs()) >= 40


def test_the_readme_tells_the_same_figures() -> None:
    assert " ".join(headline(load()).split()) in " ".join((ROOT / "README.md").read_text("utf-8").split())


def test_every_invariant_has_something_that_shows_it() -> None:
    assert [name for name, _, _ in INVARIANTS] == [f"I{number}" for number in range(17)]
    assert all(shown for _, _, shown in INVARIANTS)


def test_no_path_of_the_machine_is_in_the_data() -> None:
    assert not re.search(r"(/root|/home|/work|/tmp|/dev/shm)/", DATA.read_text("utf-8"))
