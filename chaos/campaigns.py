"""The campaigns of the proof: what each does and shows, the invariants, and what nobody has tried."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple


class Campaign(NamedTuple):
    """One campaign: its command, its share of the time, what there is to say of it, and its figures for the table.

    ``store`` is the kind of store where it is made on several; its name then is ``COMMAND-STORE``.
    """

    command: str
    share: float
    arguments: tuple[str, ...]
    title: str
    what: str
    shows: str
    figures: tuple[str, ...] = ()
    store: str = ""

    @property
    def name(self) -> str:
        """Under what its outcome is known."""
        return f"{self.command}-{self.store}" if self.store else self.command


SERVERS = {"postgres": "PostgreSQL", "redis": "Redis"}


STORES = {"sqlite": "SQLite", **SERVERS}


def _on_stores(share: float, campaign: Campaign, stores: Mapping[str, str] = STORES) -> tuple[Campaign, ...]:
    """Return a campaign once for each kind of store, with so much of the time for each."""
    return tuple(
        campaign._replace(
            share=share,
            arguments=("--store", store, *campaign.arguments),
            title=f"{campaign.title}, {name}",
            what=campaign.what.replace("STORE", name),
            store=store,
        )
        for store, name in stores.items()
    )


_on_servers = partial(_on_stores, stores=SERVERS)


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
        "edits",
        5,
        ("--seeds", "100000000"),
        "Random edits",
        "Random pipelines of pure functions are run, stopped, edited at random (parameters, versions, inputs, "
        "conditions, new, removed and renamed steps, edits taken back) and resumed. By values alone is worked out "
        "beforehand which "
        "steps each resume has to run and what it comes to; the plan shown is held against what was done.",
        "I1, I4, I6",
        ("trials",),
    ),
    Campaign(
        "language",
        5,
        ("--seeds", "100000000"),
        "Random pipelines of the whole language",
        "Random pipelines of for_each, loops, switches and blocks, each in each other, with conditions and steps that "
        "fail, die at random commits, before or after they are made, are resumed until they end, edited at random "
        "(values, constructs, items, renamed, new and removed steps), and so on. By values alone is worked out "
        "beforehand what they come to and which steps may run; after each fact what the fold counts is counted from "
        "scratch, and the plan shown is held against what was done.",
        "I1, I4, I6",
        ("trials",),
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
    *_on_servers(
        14,
        Campaign(
            "kills",
            0,
            ("--trials", "1000000"),
            "Random SIGKILL",
            "The same on STORE: many trials at once on one server, each with a store of its own, copied by commands of "
            "the server's at each kill. No lock of the system's tells that an owner is dead there: a resume is refused "
            "until its lease (2 s in these trials) has run out, and must then succeed within one renewal.",
            "I0-I4, I6-I8, I10, I11",
            ("trials", "SIGKILLs", "of them of a resume"),
        ),
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
    *_on_servers(
        3,
        Campaign(
            "contest",
            0,
            ("--trials", "100000"),
            "Many resumes at once",
            "The same on STORE, let loose when the lease of a dead owner has just run out.",
            "I1, I7",
            ("trials", "resumes"),
        ),
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
    *_on_servers(
        4,
        Campaign(
            "zombies",
            0,
            ("--trials", "100000"),
            "Owners that are stopped, robbed and woken",
            "The same on STORE. In half of the trials the heir does not rob: it waits until the lease of the stopped "
            "owner has run out.",
            "I2, I5",
            ("trials",),
        ),
    ),
    *_on_stores(
        2,
        Campaign(
            "adoption",
            0,
            ("--trials", "200"),
            "Adoption by a server",
            "Two `serve` processes look after a store (STORE). The owner of an execution, one of them or a run, is "
            "killed; the other goes on with it. The lease is 2 s here: it takes up to 2 s, less what has passed since "
            "the last renewal, and then up to 0.75 s until the server looks; with the usual lease of 30 s up to 30 s "
            "and 1.5 s. On one host (SQLite) the system frees the lock of the dead at once, and only the look is "
            "waited for.",
            "I6, I7, I1",
            ("trials", "resumes"),
        ),
    ),
    *_on_servers(
        12,
        Campaign(
            "servers",
            0,
            ("--trials", "1000000"),
            "Servers that die, connections that break",
            "A STORE is killed (SIGKILL) again and again while runs are at work on it, and started again within "
            "about a second. Then, through a proxy, the connection breaks in a trial for each message of a run and of "
            "a resume after a kill: before the message, within it, after it so that its answer is lost (also that of "
            "each commit), before an answer, and before a message with nobody there any more. A process goes on, or "
            "ends with exit code 6 (5 where the server was away for longer than its lease) and is resumed; the judge "
            "is that of the kills.",
            "I0-I4, I6-I8, I10, I11, I16",
        ),
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
        12,
        (),
        "Planted bugs",
        "Every bug that we know how to plant is planted, one at a time, outside the product's code, and the check that "
        "is to catch it is run. A check that catches nothing proves nothing.",
        "the checks themselves",
    ),
)

RESTARTS = "SIGKILLs of the server"
BROKEN = "connection of a "
"""How the figures of ``servers`` are called."""
INVARIANTS = (
    ("I0", "An execution whose id was told is durable", "kills, servers, faults, powercut; crash points `*_admission`"),
    ("I1", "What was acknowledged as done never runs again", "simulate, kills, contest, servers, faults, powercut"),
    ("I2", "One success of a task, which everybody sees", "simulate, kills, zombies"),
    ("I3", "No attempt begins before what it needs is durable", "simulate, kills"),
    ("I4", "The end is that of an undisturbed run", "simulate, kills, servers, faults, powercut"),
    ("I5", "A former owner changes nothing and ends", "simulate, zombies"),
    ("I6", "Everything ends within a bound", "simulate, kills, servers, adoption, faults"),
    ("I7", "Attempts of a task do not overlap", "simulate, kills, contest"),
    ("I8", "Every effect was claimed; attempts and crashes are counted", "simulate, kills, servers, faults"),
    ("I9", "Nothing that is needed is collected", "simulate; `tests/contract` (blobs, pruning, sharing)"),
    ("I10", "Damage is named, never taken for data", "bitflips, powercut, faults; `tests/unit/state`"),
    ("I11", "History is atomic, gap-free and agrees with lists", "simulate, kills, powercut"),
    ("I12", "After a cancel nothing begins", "simulate; `tests/unit/core/test_stopping.py`"),
    ("I13", "No wall clock decides anything", "simulate (jumps of hours and days)"),
    ("I14", "Secrets appear nowhere", "there are no secrets yet; passwords in URLs: `tests/unit/state`"),
    ("I15", "No execution reaches another, or leaves its folder", "`tests/contract`, `tests/unit/tools`"),
    ("I16", "Errors are never told as success", "faults, servers; `tests/crash/test_disk_full.py`"),
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
        "**Servers that lose what they acknowledged.** PostgreSQL and Redis are killed, not unplugged: what they have "
        "given to the system survives that, synced or not. That they sync is their business; what they promise is "
        "asked for at every connect. Standbys, replicas, failover, clusters and poolers stand in no campaign (that a "
        "live owner notices lost history: `tests/contract`). One server on the same host, one version of each; no TLS."
    ),
    (
        "**Messages are cut, not delayed**: a connection breaks before, within and after each message. A server that "
        "says nothing any more is tried in `tests/contract` only, a network that delivers in one direction or late "
        "not at all. A message is what one write sends: two that travel together are cut as one."
    ),
    (
        "**Bits, disks and power cuts under PostgreSQL and Redis** are theirs: no file call of the servers is made to "
        "fail. Damaged rows and elements are met in `tests/contract`."
    ),
    (
        "**Fleets** of many servers and executions, limits and pauses: `tests/fleet` and the simulation; the campaign "
        "here has two servers and one execution."
    ),
    (
        "**Dask, Ray**: not there yet. **macOS and Windows**: never run. **Network file systems**: refused or "
        "unsupported, not tried."
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
    (
        "**Clocks of several hosts** that disagree (leases go by the server's clock; a planted bug shows what would "
        "come of it otherwise), suspended machines, memory limits and a full process table are not tried here."
    ),
)
