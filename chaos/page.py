"""docs/proof.md, written from what the campaigns found."""

from __future__ import annotations

from typing import Any, NamedTuple


class Campaign(NamedTuple):
    """One campaign: its command, its share of the time, what there is to say of it, and its figures for the table."""

    name: str
    share: float
    arguments: tuple[str, ...]
    title: str
    what: str
    shows: str
    figures: tuple[str, ...] = ()


CAMPAIGNS = (
    Campaign(
        "simulate",
        30,
        ("--seeds", "100000000"),
        "Deterministic simulation",
        "The real engine, recorder, lease keeper, fold, plan and stores run on a manual clock. One seed decides the "
        "pipeline, which ready thing happens next, and what goes wrong: processes die, stand still beyond their "
        "leases and wake, store calls fail before or after they were done, answers come late, twice or never, "
        "clocks jump, rivals resume and steal. A judge with its own fold of the journal checks every fact and every "
        "effect as it happens. One seed in 25 runs on a real SQLite file.",
        "I1-I9, I11, I12, I13",
        ("seeds", "facts recorded and judged", "dangers met"),
    ),
    Campaign(
        "kills",
        25,
        ("--trials", "1000000"),
        "Random SIGKILL",
        "Real processes run a pipeline with a step of every kind and are killed at random moments; a tenth of the "
        "trials kill the resume again, up to eight deep. Logs of what steps did and of what was told are compared "
        "with the store as it was at each kill, and with an undisturbed run.",
        "I0-I4, I6-I8, I10, I11",
        ("trials", "SIGKILLs", "of them of a resume"),
    ),
    Campaign(
        "contest",
        5,
        ("--trials", "100000"),
        "Many resumes at once",
        "Up to eight processes resume one execution at the same moment: one owns it, the others end with exit code 4.",
        "I1, I7",
        ("trials", "resumes"),
    ),
    Campaign(
        "zombies",
        7,
        ("--trials", "100000"),
        "Owners that are stopped, robbed and woken",
        "An owner is stopped (SIGSTOP), another process takes over and goes on, the first is woken: it must change "
        "nothing, and end with exit code 5.",
        "I2, I5",
        ("trials",),
    ),
    Campaign(
        "faults",
        8,
        (),
        "Every file call goes wrong",
        "Each file call of a run, and of a resume after a kill, fails once in every way: EIO, ENOSPC, the same from "
        "that call on, half of a write and then SIGKILL, SIGKILL before the call and after it. SQLite's calls are met "
        "in a VFS, those on blobs and locks in `os`; and all of them once more on their way to libc, by a preloaded "
        "library.",
        "I0, I1, I4, I6, I8, I10, I16",
    ),
    Campaign(
        "powercut",
        5,
        (),
        "Power cuts",
        "Every file operation of a run is recorded; the disk is rebuilt as a power cut after each of them would leave "
        "it, with what was not synced lost, kept, or in random sectors. The store is opened, verified, compared with "
        "what had been told by then, and some of them resumed to the end.",
        "I0, I1, I4, I10, I11",
        ("power cuts, durability full", "resumed to the end after a cut"),
    ),
    Campaign(
        "bitflips",
        12,
        (),
        "Flipped bits",
        "One bit of the database, its WAL or a blob is flipped, and everything is verified and read: either it is what "
        "was written, or there is a complaint.",
        "I10",
    ),
    Campaign(
        "values",
        3,
        ("--examples", "100000"),
        "Values of all kinds",
        "A corpus of odd values and generated ones of every type that can be kept, nested: written and read back they "
        "are equal and of the same types, or refused by the place and type of what cannot be kept.",
        "I2, I4, I16",
    ),
    Campaign(
        "records",
        2,
        ("--mutants", "10000"),
        "Damaged and hostile records",
        "Records are mutated, cut, spliced, swapped, and sealed anew over hostile payloads (bombs, absurd lengths, "
        "types in wrong places, shapes of published exploits): each is refused by name, within a second and a hundred "
        "megabytes, and nothing is imported, opened or called for it.",
        "I10",
        ("mutants", "of the hostile corpus"),
    ),
    Campaign(
        "ids",
        3,
        ("--examples", "20000"),
        "Ids of all kinds",
        "Ids that look like paths, patterns, SQL, options and worse, through YAML, Python, every call and the stores: "
        "taken exactly or refused by the one rule, and nothing outside of the store's folder is touched.",
        "I15",
    ),
    Campaign(
        "yaml",
        3,
        ("--mutants", "1000000"),
        "Damaged pipeline files",
        "Mutated pipeline files compile, or are refused with their mistakes, in bounded time.",
        "I16",
    ),
    Campaign(
        "scale",
        10,
        (),
        "Large pipelines and histories",
        "100,000 steps side by side, in a chain, and before one step that needs them all: run, then killed at ten "
        "places and resumed. One execution with a million facts: folded, and its newest checkpoints listed.",
        "I1, I4, I6",
        ("steps", "SIGKILLs", "facts in one history"),
    ),
    Campaign(
        "mutants",
        8,
        (),
        "Planted bugs",
        "Every bug that we know how to plant is planted, one at a time, outside the product's code, and the check that "
        "is to catch it is run. A check that catches nothing proves nothing.",
        "the checks themselves",
    ),
)

EVIDENCE = "- **Evidence.**"
"""How the README's line begins that tells the figures."""

INVARIANTS = (
    ("I0", "An execution whose id was told is durable", "kills, faults, powercut; crash points `*_admission`"),
    ("I1", "What was acknowledged as done never runs again", "simulate, kills, contest, faults, powercut"),
    ("I2", "One success of a task, which everybody sees", "simulate, kills, zombies"),
    ("I3", "No attempt begins before what it needs is durable", "simulate, kills"),
    ("I4", "The end is that of an undisturbed run", "simulate, kills, faults, powercut"),
    ("I5", "A former owner changes nothing and ends", "simulate, zombies"),
    ("I6", "Everything ends within a bound", "simulate, kills, faults"),
    ("I7", "Attempts of a task do not overlap", "simulate, kills, contest"),
    ("I8", "Every effect was claimed; attempts and crashes are counted", "simulate, kills, faults"),
    ("I9", "Nothing that is needed is collected", "simulate; `tests/contract` (blobs, pruning, sharing)"),
    ("I10", "Damage is named, never taken for data", "bitflips, powercut, faults; `tests/unit/state`"),
    ("I11", "History is atomic, gap-free and agrees with lists", "simulate, kills, powercut"),
    ("I12", "After a cancel nothing begins", "simulate; `tests/unit/core/test_stopping.py`"),
    ("I13", "No wall clock decides anything", "simulate (jumps of hours and days)"),
    ("I14", "Secrets appear nowhere", "there are no secrets yet; passwords in URLs: `tests/unit/state`"),
    ("I15", "No execution reaches another, or leaves its folder", "`tests/contract`, `tests/unit/tools`"),
    ("I16", "Errors are never told as success", "faults; `tests/crash/test_disk_full.py`"),
)

NOT_COVERED = (
    (
        "**Real power cuts and real disks.** The disk of the power cuts is a model (writes safe after a sync of the "
        "file, names after a sync of the folder, sectors of 512 bytes). A drive that acknowledges a sync and "
        "forgets it is beyond any program."
    ),
    (
        "**A damaged WAL.** SQLite takes a frame whose checksum fails for the end of its log. A bit that flips in the "
        "WAL of a process that was killed can therefore take the last commits away, as a power cut without sync would; "
        "nothing notices if the whole tail goes. It is counted apart above. After a clean end there is no WAL."
    ),
    (
        "**Whoever can write to the store** and knows the format can compute the checksums anew: they protect against "
        "accidents, not against attackers."
    ),
    (
        "**Effects outside the store** are at least once: an attempt that died between its effect and its commit runs "
        "again. That is what the idempotency key and `on_interrupted: ask` are for."
    ),
    (
        "**PostgreSQL, Redis, Dask, Ray**: not there yet. **macOS and Windows**: never run. **Network file systems**: "
        "refused or unsupported, not tried."
    ),
    (
        "**The simulator** takes a call of the store for one step: what happens inside SQLite is not interleaved "
        "(contest, zombies and kills do that with real processes). Threads and worker processes are not simulated, "
        "nor `--from`, `--skip`, `preserve_completed_tasks: false` and checkpoints made by hand."
    ),
    (
        "**File calls by mmap** (the WAL's index) and file locks are not made to fail, nor are `open` and `read` below "
        "Python."
    ),
    "**Clocks of several hosts**, suspended machines, memory limits and a full process table are not tried here.",
)


def render(data: dict[str, Any]) -> str:
    """Return the page."""
    parts = [_head(data), _table(data)]
    parts += [_section(each, data[each.name]) for each in CAMPAIGNS if each.name in data]
    parts += [_planted(data.get("mutants")), _invariants(), _open()]
    return "\n".join(part for part in parts if part).rstrip() + "\n"


def headline(data: dict[str, Any]) -> str:
    """Return the figures in a sentence, as the README has them."""
    kills = data.get("kills", {}).get("tried", {}).get("SIGKILLs", 0)
    seeds = data.get("simulate", {}).get("tried", {}).get("seeds", 0)
    calls = sum(data.get("faults", {}).get("tried", {}).values())
    bugs = data.get("mutants", {}).get("tried", {})
    violations = sum(each["violations"] for each in data.values())
    return (
        f"{seeds:,} simulated seeds, {kills:,} SIGKILLs, {calls:,} failed file calls: {violations} violations; "
        f"{bugs.get('bugs caught', 0)} of {bugs.get('bugs planted', 0)} planted bugs caught"
    )


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
        if each.name == "faults":
            tried = f"{sum(found['tried'].values()):,} calls struck"
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
