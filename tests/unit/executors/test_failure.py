"""What an exception of a tool becomes."""

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


def test_the_loss_of_its_own_lease_is_no_failure() -> None:
    assert isinstance(outcome_of(LeaseLost("x", 1), "x"), Cancelled)
    assert isinstance(outcome_of(LeaseLost("y", 1), "x"), Failed)
