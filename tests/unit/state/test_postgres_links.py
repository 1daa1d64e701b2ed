"""A statement is awaited to its end, and a cancellation is felt whenever it comes."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.state.postgres.links import unbroken


async def go_on(inner: asyncio.Future[str], after: list[str]) -> None:
    after.append(await unbroken(_wait(inner)))
    await asyncio.sleep(0)
    after.append("went on")


async def _wait(inner: asyncio.Future[str]) -> str:
    return await inner


@pytest.mark.parametrize("turns", range(4))
async def test_a_cancellation_is_felt_at_the_next_await_whenever_it_comes(turns: int) -> None:
    inner: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    after: list[str] = []
    caller = asyncio.ensure_future(go_on(inner, after))
    await asyncio.sleep(0.001)
    inner.set_result("answered")
    for _ in range(turns):  # in one of these turns the statement has ended, and its caller does not know yet
        await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert after == ["answered"] or turns == 3


async def test_a_cancellation_in_the_middle_waits_for_the_answer() -> None:
    inner: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    after: list[str] = []
    caller = asyncio.ensure_future(go_on(inner, after))
    await asyncio.sleep(0.001)
    caller.cancel()
    await asyncio.sleep(0.001)
    assert not caller.done()
    inner.set_result("answered")
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert after == ["answered"]
