"""Hostile records, pipeline files and ids: the short forms, and the bugs that they catch."""

from __future__ import annotations

import sys

import pytest

from chaos import names, texts
from chaos.cases import work
from chaos.mutants_content import MUTANTS_CONTENT, caught
from chaos.names import CORPUS
from chaos.records import try_out

pytestmark = pytest.mark.chaos


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
def test_a_record_is_read_or_refused_and_does_nothing_else() -> None:
    outcome = try_out(1, 1500)
    assert outcome.failures == []
    assert outcome.tried["mutants"] == 1500
    assert outcome.tried["of the hostile corpus"] > 5000


def test_a_damaged_pipeline_file_compiles_or_is_refused() -> None:
    part = work(texts.case, range(1, 3001), None)
    assert part.failures == []
    assert part.tried["compiled"] > 50


def test_an_id_is_taken_exactly_or_refused_at_every_door() -> None:
    part = work(names.case, range(1, len(CORPUS) + 200), None)
    assert part.failures == []
    assert part.tried["ids taken"] > 30


@pytest.mark.parametrize("name", MUTANTS_CONTENT)
def test_a_planted_bug_is_caught(name: str) -> None:
    assert caught(name)
