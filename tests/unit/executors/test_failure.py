"""What an exception of a tool becomes."""

import pickle
from typing import Any

import pytest

from orchestrator.errors import LeaseLost, TaskError
from orchestrator.executors.failure import outcome_of
from orchestrator.ports.executor import Cancelled, Failed


def test_an_error_is_known_by_its_class_and_those_above_it() -> None:
    outcome = outcome_of(FileNotFoundError(2, "no such file"), "x")
    assert isinstance(outcome, Failed)
    assert outcome.error.kind == "FileNotFoundError"
    assert outcome.kinds == ("FileNotFoundError", "OSError")


def test_an_error_of_a_tool_is_known_by_its_own_kind_first() -> None:
    outcome = outcome_of(TaskError("no", kind="http_5xx"), "x")
    assert isinstance(outcome, Failed)
    assert outcome.error.kind == "http_5xx"
    assert outcome.kinds == ("TaskError", "OrchestratorError")


def test_what_a_tool_says_of_its_error_reaches_the_retries() -> None:
    error = TaskError("busy", kind="http_5xx", kinds=["http_503"], retry_after=40)
    for each in (error, pickle.loads(pickle.dumps(error))):
        outcome = outcome_of(each, "x")
        assert isinstance(outcome, Failed)
        assert outcome.kinds == ("http_503", "TaskError", "OrchestratorError")
        assert outcome.retry_after == 40


@pytest.mark.parametrize("wait", [None, 0, -1, float("nan"), float("inf"), True, "40"])
def test_a_wait_that_makes_no_sense_is_none(wait: Any) -> None:
    outcome = outcome_of(TaskError("busy", retry_after=wait), "x")
    assert isinstance(outcome, Failed)
    assert outcome.retry_after is None


@pytest.mark.parametrize(
    ("error", "word"), [(TimeoutError("slow"), "timeout"), (ConnectionResetError("gone"), "connection")]
)
def test_python_s_own_errors_have_the_words_of_the_shipped_tools(error: Exception, word: str) -> None:
    outcome = outcome_of(error, "x")
    assert isinstance(outcome, Failed)
    assert word in outcome.kinds


def test_the_loss_of_its_own_lease_is_no_failure() -> None:
    assert isinstance(outcome_of(LeaseLost("x", 1), "x"), Cancelled)
    assert isinstance(outcome_of(LeaseLost("y", 1), "x"), Failed)
