"""What the tables of the language do not need for their work, and people do: an example of each key, and its resume.

One row for each key, under the name of its table; the second name of a key has the row of the first. The reference and
the JSON Schema for editors are made of tables and rows together. Tests see that no row lacks, and compile each example.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """An example as one line of YAML, and one sentence on what a resume makes of the key, or of an edit of it.

    ``beside`` is what else stands in the mapping where the example alone would not compile, as YAML: in a step it takes
    the place of a tool and its parameters.
    """

    example: str
    on_resume: str
    beside: str = ""


_NEXT = "An edit holds from the next attempt on; finished steps are kept."
_UNDO = "A stage that was cut off goes on as it is; an edit holds from the next run on, and runs no step again."
_DATE = "{tool: shell, parameters: {command: [date]}}"
_RETRY = "An edit holds from the next failure on."
_LOOP = '{tool: shell, parameters: {command: [date]}, while: "iteration < 4"}'
_TEXT = "An edit makes no step run again."
_TIMES = "Nothing; servers follow an edit of the file that they were given."

ROWS: dict[str, dict[str, Row]] = {
    "Pipeline": {
        "id": Row("id: flights", "An edited file must have the same: another id is another pipeline, and refused."),
        "name": Row("name: Late out of New York", _TEXT),
        "version": Row('version: "1.0"', _TEXT),
        "description": Row("description: Reads, joins, reports.", _TEXT),
        "inputs": Row(
            "inputs: {limit: 10}", "An execution keeps the values that it was given; a fork can be given others."
        ),
        "max_concurrency": Row("max_concurrency: 4", "An edit holds from then on."),
        "limits": Row(
            "limits: {openai: 5, api: 10/min, disk: {at_once: 2, rate: 100/h}}",
            "What was begun before counts: a resume does not go beyond a rate. An edit holds from then on.",
        ),
        "resume": Row(
            "resume: {max_retries: 5}",
            "What the definition says that is gone on with holds; `--strategy KEY=VALUE` overrides it for once.",
        ),
        "schedule": Row(
            'schedule: "30 2 * * *"',
            "It makes executions, and says nothing about one that is there; an edit makes no step run again.",
        ),
        "steps": Row(
            "steps: [{id: a, tool: shell, parameters: {command: [date]}}]",
            "Finished steps are kept; of an edit, new and changed ones run, and removed ones stay in the journal.",
        ),
        "timeout": Row("timeout: 2h", "Each run, and each resume, has the whole time again."),
        "on_failure": Row(
            'on_failure: [{id: tell, tool: shell, parameters: {command: [echo, "{{ failure.step }}"]}}]',
            "A resume after a kill goes on in the stage; one after a failed run begins with the steps that failed, "
            "and these run again if it fails again.",
        ),
        "finally": Row(
            "finally: [{id: clean, tool: shell, parameters: {command: [date]}}]",
            "A resume after a kill goes on in the stage; at the end of a later run they run again.",
        ),
        "outputs": Row(
            'outputs: {when: "{{ a.result.stdout }}"}',
            "Computed from recorded results when the last step is done; after an edit they are computed anew.",
        ),
    },
    "UndoModel": {
        "tool": Row("tool: shell", _UNDO, _DATE),
        "action": Row("action: run", _UNDO, _DATE),
        "parameters": Row("parameters: {command: [date]}", _UNDO),
        "timeout": Row("timeout: 30s", _UNDO, _DATE),
        "retry": Row("retry: 5", _UNDO, _DATE),
    },
    "ForEachModel": {
        "items": Row(
            'items: "{{ before.result.rows }}"',
            "The recorded items are obeyed; they are worked out anew when what they read has changed.",
        ),
        "key": Row('key: "{{ item.id }}"', "Results are found by it: under other keys items are new ones."),
        "max_parallel": Row("max_parallel: 4", "An edit holds from then on."),
        "on_item_failure": Row(
            "on_item_failure: 5%", "An edit holds from then on; with it, failed items are tried again."
        ),
    },
    "SwitchModel": {
        "value": Row(
            "value: inputs.day",
            "The case is chosen anew when what this reads has changed.",
        ),
        "cases": Row(
            "cases: {monday: [{id: b, tool: shell, parameters: {command: [date]}}]}",
            "The steps of the recorded case are treated like any other; an edit of the cases has it chosen anew.",
        ),
        "default": Row(
            "default: [{id: c, tool: shell, parameters: {command: [date]}}]",
            "As with `cases`: an edit has the case chosen anew.",
        ),
    },
    "LimitModel": {
        "at_once": Row("at_once: 2", "A resume counts what is at work from none. An edit holds from then on."),
        "rate": Row("rate: 100/h", "Attempts begun before the resume count. An edit holds from then on."),
    },
    "InputModel": {
        "type": Row("type: integer", "The recorded value is held against an edited type, and refused if it is none."),
        "schema": Row(
            "schema: {minimum: 1, maximum: 100}",
            "The recorded value is held against an edited schema, and refused if it breaks it; nothing runs again.",
        ),
        "required": Row(
            "required: true",
            "A resume gives no inputs: an edit is refused if the execution has no value for a required one.",
        ),
        "default": Row(
            "default: 15",
            "An edited default holds unless the execution was given another value, and what reads it runs again.",
        ),
        "description": Row("description: How many rows.", _TEXT),
    },
    "StepModel": {
        "id": Row("id: a", "Results are found by it: under another one it is a new step, but for `renamed_from`."),
        "name": Row("name: Draw the year", _TEXT),
        "description": Row("description: The long step.", _TEXT),
        "tool": Row("tool: shell", "With another tool, a finished step runs again."),
        "action": Row("action: run", "With another action, or code of it where changes are followed, it runs again."),
        "parameters": Row(
            "parameters: {command: [date]}",
            "Rendered anew for each attempt; if an edit gives the step other values, it runs again.",
        ),
        "dependencies": Row(
            "dependencies: [before]", "An edit changes the order of what is left; it makes no finished step run again."
        ),
        "condition": Row(
            "condition: before.result.exit_code == 0",
            "A skipped step stays skipped; an edit that comes out otherwise runs or skips it.",
        ),
        "timeout": Row("timeout: 10m", "Every attempt has the whole time again; an edit holds from the next one on."),
        "undo": Row(
            'undo: {tool: shell, parameters: {command: [rm, "{{ result.stdout }}"]}}',
            "A step that was undone runs again; an edit of this key runs no step again.",
        ),
        "idle_timeout": Row("idle_timeout: 5m", "As with `timeout`: an edit holds from the next attempt on."),
        "limits": Row("limits: [api]", "An edit holds from the next attempt on, and makes no finished step run again."),
        "retry": Row("retry: 3", "Each resume counts attempts anew; all failures together count for `max_retries`."),
        "for_each": Row(
            "for_each: [a.png, b.png]",
            "Only items without a result run. By their keys, new and changed ones are told from those that are done.",
        ),
        "while": Row(
            'while: "iteration < 4"',
            "The round at work goes on. Edited, the loop begins anew; rounds given the same keep their results.",
        ),
        "until": Row('until: "last.exit_code == 0"', "As with `while`: the round at work goes on."),
        "max_iterations": Row("max_iterations: 20", "A loop that failed for it goes on under a higher one.", _LOOP),
        "switch": Row(
            "switch: {value: inputs.day, cases: {monday: [{id: all, tool: shell, parameters: {command: [date]}}]}}",
            "The recorded case is obeyed; after an edit, or with another value, it is chosen anew.",
            beside="{}",
        ),
        "steps": Row(
            "steps: [{id: b, tool: shell, parameters: {command: [date]}}]",
            "Each step inside is treated like any other.",
            beside="{}",
        ),
        "resume": Row("resume: {critical: true}", _TEXT),
        "on_interrupted": Row(
            "on_interrupted: ask",
            "`rerun` runs the step again, `fail` marks it failed, `ask` waits for `--retry` or `--skip`.",
        ),
        "isolation": Row("isolation: process", _NEXT),
        "files": Row(
            "files: {reads: model.bin, writes: report.pdf}",
            "A file read that has changed makes the step run again where changes are followed, and is told otherwise.",
        ),
        "output_schema": Row(
            "output_schema: {type: object, required: [rows]}",
            "A recorded result that breaks an edited schema is computed anew; one that satisfies it is kept.",
        ),
        "on_change": Row(
            "on_change: keep", "Goes before `--on-change` for this step; an edit of it alone runs nothing."
        ),
        "migrate": Row(
            "migrate: moving:to_rows",
            "Called by the resume instead of the step, or with its saved progress, if the step has changed.",
        ),
        "renamed_from": Row("renamed_from: fetch_data", "The step goes on with what was recorded under the old id."),
        "cache": Row(
            "cache: 1d", "Asked before a step runs, and never about a finished one: an edit runs nothing again."
        ),
    },
    "RetryModel": {
        "max_attempts": Row("max_attempts: 5", "Counts within one run: each resume may try as often again."),
        "delay": Row("delay: 2s", "A resume does not wait for a retry that was due later: it tries at once."),
        "backoff": Row("backoff: 3", "Each resume begins with `delay` again."),
        "max_delay": Row("max_delay: 5m", _RETRY),
        "jitter": Row("jitter: false", _RETRY),
        "on": Row("on: [timeout, OSError]", "A resume tries failed steps again whatever the kind of their error."),
    },
    "ResumeModel": {
        "enabled": Row("enabled: false", "With `false` nothing is resumed, and no edit changes that: exit code 3."),
        "checkpoint_interval": Row(
            "checkpoint_interval: 30", "What a crash can cost: the work of a running step since the last interval."
        ),
        "max_retries": Row(
            "max_retries: 5", "A step that has used them up is left parked, until it is changed or given `--retry`."
        ),
        "retry_failed": Row("retry_failed: false", "With `false` failed steps stay failed, and what needs them waits."),
        "reset_running_tasks": Row(
            "reset_running_tasks: false",
            "With `false` steps that were cut off are marked failed, and wait for `--retry`.",
        ),
        "preserve_completed_tasks": Row(
            "preserve_completed_tasks: false", "With `false` every resume runs every step again."
        ),
        "validate_checkpoint_integrity": Row(
            "validate_checkpoint_integrity: false",
            "With `false` only what the resume reads is verified, as it is read.",
        ),
    },
    "StepResumeModel": {
        "critical": Row("critical: true", "What the step saved last is there after any crash."),
        "checkpoint": Row(
            "checkpoint: both", "`--from` can go back to a checkpoint; with `none` the result is kept all the same."
        ),
    },
    "FilesModel": {
        "reads": Row("reads: [model.bin, words.txt]", "An edit of the list makes a finished step run again."),
        "writes": Row(
            "writes: report.pdf",
            "One that is missing or altered is told of, and made again where changes are followed.",
        ),
    },
    "ScheduleModel": {
        "cron": Row('cron: "30 2 * * MON-FRI"', _TIMES),
        "timezone": Row("timezone: Europe/Berlin", _TIMES),
        "catchup": Row("catchup: latest", _TIMES),
        "overlap": Row("overlap: skip", _TIMES),
        "input": Row("input: day", "The time was recorded when the execution was made, and stays."),
    },
    "CacheModel": {
        "ttl": Row("ttl: 12h", "Asked of a result to be taken; the step's own never grows too old."),
        "key": Row('key: "{{ inputs.day }}"', _NEXT),
        "scope": Row("scope: store", _NEXT),
    },
}
"""Name of a table -> key -> its row."""
