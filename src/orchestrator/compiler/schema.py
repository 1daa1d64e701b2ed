"""The language: every key of a pipeline file, its type, its default and what it means.

The tables tell shape and types only. What needs the whole pipeline (names, cycles, ranges, templates) is checked in
``build``, for files and for pipelines built in Python alike. The YAML reference and ``json_schema()`` are made of them,
with the rows of ``keyexamples``.
"""

from __future__ import annotations

import re
from copy import deepcopy
from operator import itemgetter
from typing import Any

from orchestrator.compiler.inputs import TYPES
from orchestrator.compiler.pacing import RATE_PATTERN, rate_of
from orchestrator.compiler.shape import OFF, REQUIRED, WRONG, Choice, Items, Key, Kind, Later, Short, Table, Value
from orchestrator.domain.pipeline import CacheScope, CheckpointWhen, Isolation, OnChange, OnInterrupted
from orchestrator.domain.schedule import Catchup, Overlap
from orchestrator.domain.words import Path
from orchestrator.schemas.checking import DIALECT

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_PERCENT = re.compile(r"(100(?:\.0+)?|\d{1,2}(?:\.\d+)?)%")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any, huge: Any = WRONG) -> Any:
    """Read a number; ``huge`` is what a whole one becomes that is too large for the machine."""
    if not (_is_whole(value) or isinstance(value, float)):
        return WRONG
    try:
        return float(value)
    except OverflowError:
        return huge


def _seconds(value: Any) -> Any:
    """Read a duration: seconds as a number, or text like ``90s``, ``5m``, ``2h``."""
    if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        return float(found[1]) * _UNITS[found[2]]
    return _number(value, huge=float("inf"))


def _cache(value: Any) -> Any:
    """Read the short forms of a cache: true, false, and how old a result may be."""
    if isinstance(value, bool):
        return {} if value else OFF
    return value if _seconds(value) is WRONG else {"ttl": value}


def _no_catchup(value: Any) -> Any:
    return str(Catchup.NONE) if value is False else value


def _tolerance(value: Any) -> Any:
    """Read how many items may fail: a number, a part of all, or the word that means any number."""
    if _is_whole(value):
        return value if value >= 0 else WRONG
    if value == "fail":
        return 0
    if isinstance(value, str) and (found := _PERCENT.fullmatch(value.strip())):
        return float(found[1]) / 100
    return value if value == "continue" else WRONG


def _limit(value: Any) -> Any:
    """Read the short forms of a limit: how many at once, or a rate."""
    if _is_whole(value):
        return {"at_once": value}
    return value if rate_of(value) is None else {"rate": value}


def _items(value: Any) -> Any:
    """Read the short form of a for_each: its items alone."""
    return {"items": value} if isinstance(value, (str, list)) or _is_whole(value) else value


def _text(value: Any) -> Any:
    return value if isinstance(value, str) else WRONG


def _condition(value: Any) -> Any:
    return ("true" if value else "false") if isinstance(value, bool) else _text(value)


def _in_quotes(value: Any) -> str | None:
    if not isinstance(value, (int, float)):
        return None
    text = str(value).lower() if isinstance(value, bool) else str(value) if abs(value) < 1e15 else "…"  # noqa: PLR2004
    return f'for text, write it in quotes: "{text}"'


def _no_quotes(value: Any) -> str | None:
    return "for a number, write it without quotes" if isinstance(value, str) and value.isdecimal() else None


def _as_id(value: Any) -> Any:
    """Take a number for an id, so that steps which depend on it are no mistakes too."""
    try:
        return str(value) if type(value) in (int, float) else WRONG
    except ValueError:  # Python refuses to write integers of more than 4300 digits
        return WRONG


_STRING, _NUMBER, _BOOLEAN = {"type": "string"}, {"type": "number"}, {"type": "boolean"}
TEXT = Value("text", _STRING, _text, _in_quotes)
VERSION = TEXT._replace(json={"anyOf": [_STRING, _NUMBER]})
CONDITION = TEXT._replace(json={"anyOf": [_STRING, _BOOLEAN]}, take=_condition)
STEP_ID = TEXT._replace(mend=_as_id)
TEXTS = Items(TEXT, alone=True)
WHOLE = Value("a whole number", {"type": "integer"}, lambda value: value if _is_whole(value) else WRONG, _no_quotes)
NUMBER = Value("a number", _NUMBER, _number, _no_quotes)
BOOLEAN = Value("true or false", _BOOLEAN, lambda value: value if isinstance(value, bool) else WRONG)
DURATION = Value(
    "a duration: seconds as a number, or text like '90s', '5m', '2h'",
    {"anyOf": [_NUMBER, {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$"}]},
    _seconds,
)
MAPPING = Value(
    "a mapping",
    {"type": "object", "additionalProperties": True},
    lambda value: value if isinstance(value, dict) else WRONG,
)
ANY = Value("anything", {}, lambda value: value)
RATE = Value(
    "a rate, as text like '5/s', '10/min', '100/h', '3/90s'",
    {"type": "string", "pattern": RATE_PATTERN},
    lambda value: rate_of(value) or WRONG,
)
TOLERANCE = Value(
    "fail, continue, a number of items, or a part of them like '5%'",
    {
        "anyOf": [
            {"type": "string", "pattern": r"^(fail|continue|(100(\.0+)?|\d{1,2}(\.\d+)?)%)$"},
            {"type": "integer", "minimum": 0},
        ]
    },
    _tolerance,
)

RETRY = Table(
    "RetryModel",
    "How often, how soon and for which errors a step is tried again.",
    Key("max_attempts", WHOLE, "How often the step is tried in one run, the first try included.", default=1),
    Key("delay", DURATION, "The wait before the first retry: seconds, or text like `90s`, `5m`.", default=1.0),
    Key("backoff", NUMBER, "What the wait is multiplied with from one retry to the next; 1 or more.", default=2.0),
    Key("max_delay", DURATION, "The longest wait.", default=60.0),
    Key(
        "jitter",
        BOOLEAN,
        "Wait a random time between 0 and the computed wait, so that many retries do not come at once.",
        default=True,
    ),
    Key(
        "on",
        TEXTS,
        "The kinds of error that are retried (`timeout`, `http_5xx`, `OSError` and what derives from it, ...); "
        "empty: all that may pass.",
        default=[],
    ),
    short=Short(
        lambda value: {"max_attempts": value} if _is_whole(value) else value,
        WHOLE.json,
        "a number of attempts, or a mapping",
    ),
)
STEP_RESUME = Table(
    "StepResumeModel",
    "What a step means to a later resume.",
    Key(
        "critical", BOOLEAN, "Always checkpoint after this step, and make what it saves durable at once.", default=False
    ),
    Key("checkpoint", Choice(CheckpointWhen), "When the step makes a checkpoint of its own.", default="after"),
)
FILES = Table(
    "FilesModel",
    "The files that a step reads and writes besides those its tool tells of.",
    Key(
        "reads",
        TEXTS,
        "Files whose content the result depends on: one path or a list, in the project or absolute.",
        default=[],
    ),
    Key("writes", TEXTS, "Files that are there when the step has ended well: one path or a list.", default=[]),
)
CACHE = Table(
    "CacheModel",
    "Which results of other executions a step may take for its own.",
    Key("ttl", DURATION, "How old a result may be: seconds, or text like `90s`, `1d`; without it, any age."),
    Key("key", TEXT, "What else the result depends on, as a text with templates: a date, a version."),
    Key(
        "scope",
        Choice(CacheScope),
        "Whose results: those of the executions of this `pipeline`, or of all in the `store`.",
        default="pipeline",
    ),
    short=Short(
        _cache,
        {"anyOf": [_BOOLEAN, DURATION.json]},
        "true, false, how old a result may be (like '1d'), or a mapping",
    ),
)
UNDO = Table(
    "UndoModel",
    "What takes back what a step did.",
    Key("tool", TEXT, "The tool that does it.", default=REQUIRED),
    Key("action", TEXT, "Which of the tool's actions; without it, the tool's default one."),
    Key(
        "parameters",
        MAPPING,
        "What the action is given. Templates see what the step sees, its `result`, and `failure`.",
        default={},
    ),
    Key("timeout", DURATION, "The longest that one attempt may take: seconds, or text like `90s`, `5m`, `2h`."),
    Key("retry", RETRY, "A number of attempts, or a mapping.", default=1),
)
UNDOS = Items(UNDO, alone=True)
_INNER = Later(lambda: STEP)
FOR_EACH = Table(
    "ForEachModel",
    "The items that a step is done for.",
    Key(
        "items",
        ANY,
        "A template that yields a list, a mapping or a whole number; or these themselves.",
        default=REQUIRED,
    ),
    Key(
        "key",
        TEXT,
        "A template over `item` that names an item: results are found again under it. Without it: the key of a "
        "mapping; items themselves if they are short texts or whole numbers, all different; else places, from 0.",
    ),
    Key("max_parallel", WHOLE, "How many items may be at work at once; without it, all."),
    Key(
        "on_item_failure",
        TOLERANCE,
        "`fail`: after the first failed item no further ones begin, and the step fails. `continue`: the result is "
        "made of those that succeed. A number, or a part like `5%`: so many may fail.",
        default="fail",
    ),
    short=Short(
        _items,
        {"type": ["string", "array", "integer"]},
        "items (a template, a list or a whole number), or a mapping",
    ),
)
SWITCH = Table(
    "SwitchModel",
    "Cases of which one is done.",
    Key("value", TEXT, "An expression, with or without `{{ }}`: the case that it yields is done.", default=REQUIRED),
    Key("cases", Items(Items(_INNER), named=True), "The steps of each case.", default=REQUIRED),
    Key("default", Items(_INNER), "The steps of all other cases; without it, the step is skipped."),
)
STEP: Table = Table(
    "StepModel",
    "One step: which tool does what, with which parameters, after which steps.",
    Key(
        "id", STEP_ID, "The step's name in templates, dependencies and commands; unique in the file.", default=REQUIRED
    ),
    Key("name", TEXT, "A title for people."),
    Key("description", TEXT, "What the step is for."),
    Key("tool", TEXT, "The tool that does the work; `orchestrator tools` lists them. A step has one, or holds others."),
    Key("action", TEXT, "Which of the tool's actions; without it, the tool's default one."),
    Key(
        "parameters",
        MAPPING,
        "What the action is given. Values may hold `{{ ... }}` templates; keys are taken as they are.",
        default={},
    ),
    Key(
        "dependencies",
        TEXTS,
        "Steps that must be done before: one id or a list. Steps that a template reads need not be named.",
        default=[],
        other="depends_on",
    ),
    Key(
        "condition",
        CONDITION,
        "An expression, with or without `{{ }}`; if it is not true, the step is skipped. With `for_each`, it is asked "
        "of each item where it names `item`, `key` or `index`.",
        other="when",
    ),
    Key(
        "for_each",
        FOR_EACH,
        "Do the step once for each item: a template that yields a list, a mapping or a number; a list; or a mapping "
        "of the keys under [items](#items). In it, `item`, `key` and `index` are what they say.",
    ),
    Key(
        "while",
        CONDITION,
        "Do the step again as long as this expression is true before a round. It sees `iteration` (from 1) and `last`, "
        "the result of the last round.",
    ),
    Key("until", CONDITION, "Do the step again until this expression is true after a round."),
    Key("max_iterations", WHOLE, "How many rounds a loop may take; more fail the step.", default=1000),
    Key("switch", SWITCH, "Do the steps of one of several cases."),
    Key(
        "steps",
        Items(_INNER),
        "Steps inside this one: they see each other, and with `for_each`, `while` or `until` they are done for each "
        "item or round. The result is theirs, by name.",
        other="parallel",
    ),
    Key("timeout", DURATION, "The longest that one attempt may take: seconds, or text like `90s`, `5m`, `2h`."),
    Key(
        "idle_timeout",
        DURATION,
        "The longest that one attempt may go without telling progress or saving; then it ends with the kind `idle`.",
    ),
    Key(
        "limits",
        TEXTS,
        "The limits of the pipeline that each attempt keeps: one name or a list.",
        default=[],
    ),
    Key("retry", RETRY, "A number of attempts, or a mapping.", default=1),
    Key(
        "undo",
        UNDOS,
        "What takes back what the step did, if the run fails or is cancelled after it is completed: one or a list.",
    ),
    Key("resume", STEP_RESUME, "What the step means to a later resume.", default={}),
    Key(
        "on_interrupted",
        Choice(OnInterrupted),
        "What a resume does with the step if it was running when the process died.",
        default="rerun",
    ),
    Key(
        "isolation",
        Choice(Isolation),
        "`process` runs the step in a process of its own, which can be killed.",
        default="none",
    ),
    Key("files", FILES, "The files that the step reads and writes besides those its tool tells of.", default={}),
    Key("output_schema", MAPPING, "What the result must be like: a JSON Schema (2020-12)."),
    Key(
        "on_change",
        Choice(OnChange),
        "What a resume does with the finished step if it is not what it was; without it, as the resume is told.",
    ),
    Key(
        "migrate",
        TEXT,
        "Where the step has changed, what makes a result or saved progress of the new kind out of the old one: "
        "`module:function`, called with `old`, and with `kind` (`result` or `saved`) if it takes that.",
    ),
    Key("renamed_from", TEXT, "The id that the step had before: its result is found under that."),
    Key(
        "cache",
        CACHE,
        "Take the result of another execution where it has the same fingerprint: `true`, how old it may be, "
        "or a mapping.",
    ),
)
LIMIT = Table(
    "LimitModel",
    "How many attempts may be at work at once, and how soon they may follow each other.",
    Key("at_once", WHOLE, "How many attempts may be at work at once."),
    Key(
        "rate",
        RATE,
        "How many attempts, retries included, may begin within any such time: `5/s`, `10/min`, `100/h`, `3/90s`.",
    ),
    short=Short(_limit, {"anyOf": [WHOLE.json, RATE.json]}, "a number at once, a rate like '10/min', or a mapping"),
)
INPUT = Table(
    "InputModel",
    "An input of the pipeline. Anything but a mapping is short for its default.",
    Key("type", Choice(TYPES), "The type; without it, that of the schema, else of the default, else `any`."),
    Key("schema", MAPPING, "What else a value must be like: a JSON Schema (2020-12)."),
    Key("required", BOOLEAN, "Whether it must be given; by default, if it has no default."),
    Key("default", ANY, "The value if none is given."),
    Key("description", TEXT, "What it is for."),
    short=Short(
        lambda value: {} if value is None else {"default": value},
        {"type": ["string", "number", "boolean", "array", "null"]},
    ),
    unknown="; a default that is a mapping is written default: {…}, and JSON Schema is written schema: {…}",
)
RESUME = Table(
    "ResumeModel",
    "How a run is checkpointed, and what a resume does with what it finds.",
    Key("enabled", BOOLEAN, "Whether the run makes checkpoints at all.", default=True),
    Key(
        "checkpoint_interval",
        DURATION,
        "How often the progress of running steps is made durable: seconds, or text like `90s`.",
        default=60.0,
        other="checkpoint_interval_seconds",
    ),
    Key(
        "max_retries",
        WHOLE,
        "Retries a step may use over the whole execution, resumes included, before it is parked.",
        default=3,
        other="max_retry_attempts",
    ),
    Key(
        "retry_failed", BOOLEAN, "Whether a resume tries failed steps again.", default=True, other="retry_failed_tasks"
    ),
    Key(
        "reset_running_tasks",
        BOOLEAN,
        "Whether a resume runs steps again that were running when the process died; else they failed.",
        default=True,
    ),
    Key(
        "preserve_completed_tasks",
        BOOLEAN,
        "Whether a resume keeps the results of completed steps; else it runs every step again.",
        default=True,
    ),
    Key(
        "validate_checkpoint_integrity",
        BOOLEAN,
        "Whether a resume verifies every checksum, and the journal against the definition, first.",
        default=True,
    ),
)
SCHEDULE = Table(
    "ScheduleModel",
    "When `orchestrator serve --schedule FILE` runs the pipeline by itself.",
    Key(
        "cron",
        TEXT,
        "The times: minute, hour, day of month, month, day of week; or `@hourly`, `@daily`, `@weekly`, `@monthly`, "
        "`@yearly`.",
        default=REQUIRED,
    ),
    Key("timezone", TEXT, "The time zone that `cron` is read in: an IANA name like `Europe/Berlin`.", default="UTC"),
    Key(
        "catchup",
        Choice(Catchup, also=_no_catchup, json={"const": False}),
        "Which of the times are run that came while no server served the schedule: `none` (or `false`), "
        "the `latest`, or `all` of them (the newest 1000).",
        default="none",
    ),
    Key(
        "overlap",
        Choice(Overlap),
        "What a time does that comes while an earlier run has not ended: `queue` waits for its end, `skip` is not run, "
        "`cancel` cancels the earlier one, `allow` runs beside it.",
        default="queue",
    ),
    Key("input", TEXT, "The input that is given the scheduled time, as text like `2026-01-31T02:00:00+01:00`."),
    short=Short(
        lambda value: {"cron": value} if isinstance(value, str) else value,
        _STRING,
        "the times as text, like '0 2 * * *', or a mapping",
    ),
)
PIPELINE = Table(
    "Pipeline",
    "A pipeline file.",
    Key("id", TEXT, "The pipeline's name in commands; by default the name of the file."),
    Key("name", TEXT, "A title for people."),
    Key("version", VERSION, "The definition's version; a number is taken as it is written."),
    Key("description", TEXT, "What the pipeline is for."),
    Key(
        "inputs",
        Items(INPUT, named=True),
        "What a run is given: a name and a default, or a mapping, for each.",
        default={},
        other="parameters",
    ),
    Key(
        "max_concurrency",
        WHOLE,
        "How many attempts of one execution run at once; without it, as many as the process allows.",
    ),
    Key(
        "limits",
        Items(LIMIT, named=True),
        "Limits that steps keep by name, each for one execution: a number at once, a rate, or a mapping.",
        default={},
    ),
    Key("resume", RESUME, "Checkpoints and resume.", default=RESUME.defaults),
    Key("schedule", SCHEDULE, "When servers run the pipeline by themselves: the times, or a mapping."),
    Key("steps", Items(STEP), "The steps. Their order says nothing: dependencies and templates do.", default=REQUIRED),
    Key(
        "timeout",
        DURATION,
        "The longest that one run may take, from its start or resume, until it counts as failed; later stages apart.",
    ),
    Key(
        "on_failure",
        Items(STEP),
        "Steps that come after a failure. They see `failure`, and the results of the steps that are done.",
    ),
    Key(
        "finally",
        Items(STEP),
        "Steps that come at the end, however the run ended. They see what those in `on_failure` see.",
    ),
    Key("outputs", MAPPING, "What a run returns: names and templates over inputs and results.", default={}),
)


def table_at(path: Path) -> Table | None:
    """Return what describes the mapping at ``path`` if it has keys with second names, else None."""
    if path == ("resume",):
        return RESUME
    table: Table | None = PIPELINE
    rest = list(path)
    while rest and table is not None:
        match rest:
            case ["steps", int(), *rest]:
                table = STEP
            case ["on_failure" | "finally", int(), *rest] if table is PIPELINE:
                table = STEP
            case ["switch", "default", int(), *rest] | ["switch", "cases", _, int(), *rest] if table is STEP:
                pass
            case _:
                table = None
    return table


def innermost(kind: Kind) -> Kind:
    """Return the kind of the values in lists and mappings of values."""
    while isinstance(kind, (Items, Later)):
        kind = kind.kind if isinstance(kind, Items) else kind.kind()
    return kind


def tables() -> list[Table]:
    """Return every table of the language: that of the file first, then in the order in which they are met."""
    found = {PIPELINE.name: PIPELINE}
    waiting = [PIPELINE]
    for table in waiting:
        for key in table.keys.values():
            kind = key.kind
            kind = innermost(kind)
            if isinstance(kind, Table) and kind.name not in found:
                found[kind.name] = kind
                waiting.append(kind)
    return list(found.values())


def json_schema() -> dict[str, Any]:
    """Return the language as JSON Schema, with the second names of keys, for editors.

    It has the shape of a file only: which names there are, cycles and templates are for ``compile_text`` to check.
    """
    whole, *parts = map(_with_rows, tables())
    defined = {part["title"]: part for part in sorted(parts, key=itemgetter("title"))}
    return deepcopy({"$schema": DIALECT, "$defs": defined, **whole})


def _with_rows(table: Table) -> dict[str, Any]:
    """Return the definition of a table, with an example for each key, and what a resume makes of it."""
    from orchestrator.compiler.keyexamples import ROWS
    from orchestrator.compiler.load import load

    found = table.definition()
    properties = found["properties"]
    for key, row in ROWS[table.name].items():
        properties[key]["examples"] = [load(row.example, file=key).plain()[key]]
        meaning = properties[key]["description"]
        properties[key]["description"] = f"{meaning} On a resume: {row.on_resume}"
        # What VS Code, and all that use its language server, show instead; others do not look at it.
        properties[key]["markdownDescription"] = f"{meaning}\n\n*On a resume:* {row.on_resume}"
    for other, key in table.others.items():
        properties[other]["examples"] = properties[key]["examples"]
    return found
