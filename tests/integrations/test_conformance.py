"""LangGraph's own conformance suite, all of it, on each store."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.capabilities import Capability

from orchestrator import Orchestrator
from orchestrator.integrations.langgraph import OrchestratorSaver


async def test_langgraphs_conformance_suite(store_url: str) -> None:
    @checkpointer_test(name=store_url)
    async def saver() -> AsyncGenerator[OrchestratorSaver, None]:
        async with OrchestratorSaver(store_url) as opened:
            yield opened

    report = await validate(saver)

    failures = [failure for result in report.results.values() for failure in result.failures or []]
    assert failures == []
    assert {name: result.passed for name, result in report.results.items()} == {each.value: True for each in Capability}
    assert sum(result.tests_passed for result in report.results.values()) >= 81
    async with Orchestrator(store_url) as orchestrator:
        assert await orchestrator.state_manager.verify() == []
