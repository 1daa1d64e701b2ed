from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.ids import (
    checkpoint_id,
    child_id,
    chosen_id,
    execution_id,
    idempotency_key,
    is_valid_id,
    parent_of,
    parse_checkpoint_id,
)
from orchestrator.errors import UsageError


@pytest.mark.parametrize("text", ["a", "_", "7", "exec_123", "A.b-c_d", "x" * 128])
def test_valid_ids(text: str) -> None:
    assert is_valid_id(text)
    assert execution_id(text) == text


@pytest.mark.parametrize(
    "text",
    ["", "-a", ".a", "a b", "a/b", "../a", "a\n", "é", "a@1", "x" * 129, "a\x00", "a:b", "\N{ARABIC-INDIC DIGIT ONE}"],
)
def test_invalid_ids(text: str) -> None:
    assert not is_valid_id(text)
    with pytest.raises(UsageError, match="not an execution id") as caught:
        execution_id(text)
    assert caught.value.exit_code == 2
    assert "letters, digits" in str(caught.value)  # what an id is


@given(
    name=st.text("Az09._-", min_size=1, max_size=128).filter(is_valid_id),
    seq=st.integers(1, 1 << 32),
)
def test_a_checkpoint_id_reads_back(name: str, seq: int) -> None:
    assert parse_checkpoint_id(checkpoint_id(name, seq)) == (name, seq)


@pytest.mark.parametrize("text", ["", "a", "a@", "@1", "a@0", "a@-1", "a@x", "a b@1", "a@1@", "a@\N{SUPERSCRIPT TWO}"])
def test_what_is_no_checkpoint_id(text: str) -> None:
    with pytest.raises(UsageError, match="EXECUTION@SEQ"):
        parse_checkpoint_id(text)


def test_the_idempotency_key_names_task_and_execution() -> None:
    assert idempotency_key("exec_1", "load") == "exec_1/load"


_names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True)


@given(_names, _names | st.text(min_size=1, max_size=200), st.integers(1, 30))
def test_the_id_of_a_child_is_valid_and_cannot_be_chosen(parent: str, task: str, generation: int) -> None:
    made = child_id(parent, task, generation)
    assert execution_id(made) == made
    assert parent_of(made) in (parent, None)
    assert execution_id(child_id(made, task, generation)) != made
    with pytest.raises(UsageError, match="kept for executions that steps start"):
        chosen_id(made)


@given(st.tuples(_names, st.integers(1, 30)), st.tuples(_names, st.integers(1, 30)))
def test_no_two_children_of_an_execution_share_an_id(one: tuple[str, int], other: tuple[str, int]) -> None:
    assert (child_id("exec_1", *one) == child_id("exec_1", *other)) is (one == other)


def test_numbers_in_the_ids_of_steps_are_no_generations() -> None:
    assert child_id("e", "a.2", 1) != child_id("e", "a", 2)
    assert parent_of("e~a~b") == "e~a"
    assert parent_of("e") is None
    assert parent_of(child_id("e" * 128, "a", 1)) is None
