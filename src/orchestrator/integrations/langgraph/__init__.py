"""LangGraph's threads in our stores: checksums, pruning, encryption, export, and loading that runs no code.

>>> from orchestrator.integrations.langgraph import OrchestratorSaver
>>> with OrchestratorSaver("memory://docs") as saver:
...     saver.get_tuple({"configurable": {"thread_id": "1"}}) is None
True
"""

from orchestrator.errors import UsageError

try:
    from orchestrator.integrations.langgraph.saver import OrchestratorSaver
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("langgraph", "langchain_core"):
        raise
    raise UsageError(
        "orchestrator.integrations.langgraph needs LangGraph's checkpoint package: "
        "pip install 'durable-orchestrator[langgraph]'"
    ) from error

__all__ = ["OrchestratorSaver"]
