"""A pipeline as functions, and the same one as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orchestrator as orc


@orc.task(retry=orc.RetryPolicy(max_attempts=2, delay_seconds=0.01), critical=True)
def fetch(user: str) -> dict[str, Any]:
    with Path("fetched").open("a") as log:
        log.write(f"{user}\n")
    return {"user": user, "rows": [1, 2, 3], "odd key": 7}


@orc.task(timeout=30)
async def process(rows: list[int], factor: int = 2) -> dict[str, int]:
    return {"total": factor * sum(rows)}


@orc.task
def send(total: int, to: str, context: orc.TaskContext | None = None) -> str:
    assert context is not None
    if not Path("online").exists():
        raise ConnectionError("the line is down")
    return f"sent {total} {to} at attempt {context.attempt}"


@orc.pipeline(id="nightly-report", version="2")
def nightly(user: Annotated[str, "whose rows"] = "nobody", factor: int = 2, quiet: bool = False) -> dict[str, Any]:
    rows = fetch(user)
    total = process(rows["rows"], factor=factor)
    sending = send.when(orc.expression("not {} and {} > 3", quiet, total["total"]))
    return {"sent": sending(total["total"], f"to {user}"), "odd": rows["odd key"]}


@orc.pipeline
def twice(limit: int) -> int:
    first = fetch("ada")
    second = fetch.named("fetch-bob").after(first).options(isolation="process")("bob")
    return process([first["rows"][0], second["rows"][limit], 5])["total"]


@orc.pipeline
def outer() -> dict[str, Any]:
    total = twice(2)
    odd = nightly.step.named("report")(user="eve")["odd"]
    from_file = orc.subpipeline("pipelines/monthly report.yaml", {"odd": odd}, timeout=60)
    return {"total": total, "month": from_file["month"]}


NIGHTLY = """
id: nightly-report
version: "2"
inputs:
  user: {default: nobody, description: whose rows}
  factor: 2
  quiet: false
steps:
  - id: fetch
    tool: python
    action: tests.unit.functions.flows:fetch
    parameters: {user: "{{ inputs.user }}"}
    retry: {max_attempts: 2, delay: 0.01}
    resume: {critical: true}
  - id: process
    tool: python
    action: tests.unit.functions.flows:process
    parameters: {rows: "{{ fetch.result.rows }}", factor: "{{ inputs.factor }}"}
    timeout: 30
  - id: send
    tool: python
    action: tests.unit.functions.flows:send
    parameters: {total: "{{ process.result.total }}", to: "to {{ inputs.user }}"}
    condition: "{{ not inputs.quiet and process.result.total > 3 }}"
outputs:
  sent: "{{ send.result }}"
  odd: "{{ fetch.result['odd key'] }}"
"""


@orc.task
def shout(name: str, mark: str = "!") -> str:
    if name == "eve" and not Path("online").exists():
        raise ConnectionError("eve is away")
    return f"{name}{mark}"


@orc.task
def page(after: dict[str, Any] | None) -> dict[str, Any]:
    number = 1 if after is None else after["number"] + 1
    return {"number": number, "done": number == 3}


@orc.pipeline
def each(users: list[dict[str, Any]]) -> dict[str, Any]:
    loud = shout.for_each(users, key=orc.item["id"], max_parallel=2).when(orc.expression("{} != 'bob'", orc.item["id"]))
    names = loud(orc.item["id"], mark="?")
    counted = page.repeat(until=orc.last["done"], max_iterations=5).after(names)(orc.last)
    return {"names": names, "last": counted["number"]}


EACH = """
id: each
inputs: {users: {type: list}}
steps:
  - id: shout
    for_each: {items: "{{ inputs.users }}", key: "{{ item.id }}", max_parallel: 2}
    condition: "{{ item.id != 'bob' }}"
    tool: python
    action: tests.unit.functions.flows:shout
    parameters: {name: "{{ item.id }}", mark: "?"}
  - id: page
    dependencies: [shout]
    until: "{{ last.done }}"
    max_iterations: 5
    tool: python
    action: tests.unit.functions.flows:page
    parameters: {after: "{{ last }}"}
outputs:
  names: "{{ shout.result }}"
  last: "{{ page.result.number }}"
"""
