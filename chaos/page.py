"""docs/proof.md, written from what the campaigns found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from chaos.campaigns import BROKEN, CAMPAIGNS, INVARIANTS, NOT_COVERED, RESTARTS

if TYPE_CHECKING:
    from chaos.campaigns import Campaign


EVIDENCE = "- **Evidence.**"
"""How the README's line begins that tells the figures."""


def render(data: dict[str, Any]) -> str:
    """Return the page."""
    parts = [_head(data), _table(data)]
    parts += [_section(each, data[each.name]) for each in CAMPAIGNS if each.name in data]
    parts += [_planted(data.get("mutants")), _invariants(), _open()]
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def headline(data: dict[str, Any]) -> str:
    """Return the figures in a sentence, as the README has them."""
    kills = sum(_tried(data, each.name).get("SIGKILLs", 0) for each in CAMPAIGNS if each.command == "kills")
    servers = [_tried(data, each.name) for each in CAMPAIGNS if each.command == "servers"]
    restarts = sum(each.get(RESTARTS, 0) for each in servers)
    broken = sum(often for each in servers for what, often in each.items() if what.startswith(BROKEN))
    seeds = data.get("simulate", {}).get("tried", {}).get("seeds", 0)
    calls = sum(data.get("faults", {}).get("tried", {}).values())
    bugs = data.get("mutants", {}).get("tried", {})
    violations = sum(each["violations"] for each in data.values())
    return (
        f"{seeds:,} simulated seeds, {kills:,} SIGKILLs of processes and {restarts:,} of servers, {calls:,} failed "
        f"file calls, {broken:,} broken connections: {violations} violations; "
        f"{bugs.get('bugs caught', 0)} of {bugs.get('bugs planted', 0)} planted bugs caught"
    )


def _tried(data: dict[str, Any], name: str) -> dict[str, int]:
    found: dict[str, int] = data.get(name, {}).get("tried", {})
    return found


def evidence(data: dict[str, Any]) -> str:
    """Return the README's line on all this."""
    return f"{EVIDENCE} {headline(data)}. [How, and what is not covered](docs/proof.md)."


def _head(data: dict[str, Any]) -> str:
    return f"""# Proof

<!-- Written by `make proof`; every change by hand is lost. -->

The claim is: *never loses a recorded step, never repeats one*. This page says how we try to break it, how often, and
what came of it. In the last campaigns: {headline(data)}.

A violation would be in the table below with its text and the command that repeats it. `make proof` runs all of this for
about an hour and writes the page anew; `make test` runs a short form of each on every change.
"""


def _table(data: dict[str, Any]) -> str:
    lines = ["| campaign | tried | violations | seconds | date |", "|---|---|---|---|---|"]
    for each in CAMPAIGNS:
        found = data.get(each.name)
        if found is None:
            lines.append(f"| {each.title} | not run | | | |")
            continue
        figures = each.figures or tuple(found["tried"])
        tried = "; ".join(f"{found['tried'].get(what, 0):,} {what}" for what in figures)
        if each.command == "faults":
            tried = f"{sum(found['tried'].values()):,} calls struck"
        elif each.command == "servers":
            broken = sum(often for what, often in found["tried"].items() if what.startswith(BROKEN))
            tried = f"{found['tried'].get(RESTARTS, 0):,} {RESTARTS}; {broken:,} connections broken"
        row = (f"[{each.title}](#{_anchor(each)})", tried, f"**{found['violations']}**")
        lines.append(f"| {' | '.join(row)} | {found['seconds']:,.0f} | {found['date']} |")
    return "\n".join(lines) + "\n"


def _anchor(campaign: Campaign) -> str:
    return campaign.title.lower().replace(",", "").replace(" ", "-")


def _section(campaign: Campaign, found: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    lines = [
        f"## {campaign.title}",
        "",
        campaign.what,
        "",
        f"Shows {campaign.shows}. Once more:",
        "",
        "```text",
        found["command"],
        "```",
        "",
        f"{found['date']}, {found['seconds']:,.0f} s; {versions}.",
        "",
        "| | |",
        "|---|---|",
    ]
    lines += [f"| {what} | {often:,} |" for what, often in found["tried"].items()]
    if campaign.name != "mutants":
        lines += [f"| {what} | {_shown(value)} |" for what, value in found["notes"].items()]
    lines.append(f"| **violations** | **{found['violations']}** |")
    for failure in found["failures"]:
        lines += ["", "```text", failure, "```"]
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name}: {often:,}" for name, often in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)


def _planted(found: dict[str, Any] | None) -> str:
    if found is None:
        return ""
    lines = ["### What caught each", "", "| campaign | bug | what it said |", "|---|---|---|"]
    for name, said in found["notes"].items():
        campaign, _, bug = name.rpartition(": ")
        text = str(said).replace("|", "/").replace("\n", " ")
        lines.append(f"| {campaign} | `{bug}` | {text[:110]} |")
    return "\n".join(lines) + "\n"


def _invariants() -> str:
    lines = ["## The invariants, and what shows each", "", "| | what holds | shown by |", "|---|---|---|"]
    lines += [f"| {name} | {text} | {shown} |" for name, text, shown in INVARIANTS]
    return "\n".join([*lines, "", "Their full text is in [Guarantees](guarantees.md)."]) + "\n"


def _open() -> str:
    return "\n".join(["## What is not covered", "", *(f"- {text}" for text in NOT_COVERED)]) + "\n"
