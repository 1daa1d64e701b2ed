from __future__ import annotations

import pytest

from chaos.cases import work
from chaos.content import CORPUS, corpus
from chaos.content import case as value_case


@pytest.mark.chaos
def test_the_corpus_comes_back_equal_or_is_refused_with_its_place() -> None:
    found = list(corpus())
    assert len(found) == len(CORPUS)
    assert [entry for entry in found if entry[1]] == []


@pytest.mark.chaos
def test_generated_values_come_back_equal_or_are_refused_with_their_place() -> None:
    part = work(value_case, range(1, 4001), None)
    assert part.failures == []
    assert part.tried["kept"] > 3000
    assert part.tried["refused"] > 50
