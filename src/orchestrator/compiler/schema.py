"""The language: every key of a pipeline file, its type, its default and what it means.

The models check shape and types only. What needs the whole pipeline (names, cycles, ranges, templates) is checked in
``build``, for files and for pipelines built in Python alike. The YAML reference is generated from ``json_schema()``.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from orchestrator.compiler.source import ALIASES

InputType = Literal["string", "integer", "number", "boolean", "list", "object", "any"]
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def _seconds(value: Any) -> Any:
    """Read a duration: seconds as a number, or text like ``90s``, ``5m``, ``2h``."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return float("inf")
    if isinstance(value, str) and (found := _DURATION.fullmatch(value.strip())):
        return float(found[1]) * _UNITS[found[2]]
    raise PydanticCustomError("duration", "expected a duration", {})


def _text_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _attempts(value: Any) -> Any:
    return {"max_attempts": value} if isinstance(value, int) and not isinstance(value, bool) else value


def _condition(value: Any) -> Any:
    return ("true" if value else "false") if isinstance(value, bool) else value


def _input(value: Any) -> Any:
    if isinstance(value, dict):
        return value
    return {} if value is None else {"default": value}


_DURATION_SCHEMA = {
    "anyOf": [
        {"type": "number"},
        {"type": "string", "pattern": r"^\d+(\.\d+)?\s*(ms|s|m|h|d)$"},
    ]
}
Seconds = Annotated[float, BeforeValidator(_seconds), WithJsonSchema(_DURATION_SCHEMA)]
Names = Annotated[
    list[str],
    BeforeValidator(_text_list),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class Model(BaseModel):
    """A mapping of the language: unknown keys and mixed-up types are mistakes."""

    model_config = ConfigDict(extra="forbid", strict=True)


class RetryModel(Model):
    """How often, how soon and for which errors a step is tried again."""

    max_attempts: int = Field(1, description="How often the step is tried in one run, the first try included.")
    delay: Seconds = Field(1.0, description="The wait before the first retry: seconds, or text like `90s`, `5m`.")
    backoff: float = Field(2.0, description="What the wait is multiplied with from one retry to the next; 1 or more.")
    max_delay: Seconds = Field(60.0, description="The longest wait.")
    jitter: bool = Field(
        True,  # noqa: FBT003
        description="Wait a random time between 0 and the computed wait, so that many retries do not come at once.",
    )
    on: Names = Field(
        [],
        description="The kinds of error that are retried (`timeout`, `OSError`, ...); empty: all that may pass.",
    )


class StepResumeModel(Model):
    """What a step means to a later resume."""

    critical: bool = Field(
        False,  # noqa: FBT003
        description="Always checkpoint after this step, and make what it saves durable at once.",
    )
    checkpoint: Literal["before", "after", "both", "none"] = Field(
        "after", description="When the step makes a checkpoint of its own."
    )


NO_RETRY = RetryModel()
USUAL_RESUME = StepResumeModel()
"""Shared by all steps that say nothing: copies of them would cost more than the rest of a step."""


class StepModel(Model):
    """One step: which tool does what, with which parameters, after which steps."""

    id: str = Field(description="The step's name in templates, dependencies and commands; unique in the file.")
    name: str | None = Field(None, description="A title for people.")
    description: str | None = Field(None, description="What the step is for.")
    tool: str = Field(description="The tool that does the work; `orchestrator tools` lists them.")
    action: str | None = Field(None, description="Which of the tool's actions; without it, the tool's default one.")
    parameters: dict[str, Any] = Field(
        default_factory=dict,
        json_schema_extra={"default": {}},
        description="What the action is given. Values may hold `{{ ... }}` templates; keys are taken as they are.",
    )
    dependencies: Names = Field(
        default_factory=list,
        json_schema_extra={"default": []},
        description="Steps that must be done before: one id or a list. Steps that a template reads need not be named.",
    )
    condition: Annotated[str, BeforeValidator(_condition)] | None = Field(
        None, description="An expression, with or without `{{ }}`; if it is not true, the step is skipped."
    )
    timeout: Seconds | None = Field(
        None, description="The longest that one attempt may take: seconds, or text like `90s`, `5m`, `2h`."
    )
    retry: Annotated[
        RetryModel,
        BeforeValidator(_attempts),
    ] = Field(
        default_factory=lambda: NO_RETRY,
        json_schema_extra={"default": 1},
        description="A number of attempts, or a mapping.",
    )
    resume: StepResumeModel = Field(
        default_factory=lambda: USUAL_RESUME,
        json_schema_extra={"default": {}},
        description="What the step means to a later resume.",
    )
    on_interrupted: Literal["rerun", "fail", "ask"] = Field(
        "rerun", description="What a resume does with the step if it was running when the process died."
    )
    isolation: Literal["none", "process"] = Field(
        "none", description="`process` runs the step in a process of its own, which can be killed."
    )


class InputModel(Model):
    """An input of the pipeline. Anything but a mapping is short for its default."""

    type: InputType | None = Field(None, description="The type; without it, that of the default, else `any`.")
    required: bool | None = Field(None, description="Whether it must be given; by default, if it has no default.")
    default: Any = Field(None, description="The value if none is given.")
    description: str | None = Field(None, description="What it is for.")


class ResumeModel(Model):
    """How a run is checkpointed, and what a resume does with what it finds."""

    enabled: bool = Field(True, description="Whether the run makes checkpoints at all.")  # noqa: FBT003
    checkpoint_interval: Seconds = Field(
        60.0, description="How often the progress of running steps is made durable: seconds, or text like `90s`."
    )
    max_retries: int = Field(
        3, description="Retries a step may use over the whole execution, resumes included, before it is parked."
    )
    retry_failed: bool = Field(True, description="Whether a resume tries failed steps again.")  # noqa: FBT003
    reset_running_tasks: bool = Field(
        True,  # noqa: FBT003
        description="Whether a resume runs steps again that were running when the process died; else they failed.",
    )
    preserve_completed_tasks: bool = Field(
        True,  # noqa: FBT003
        description="Whether a resume keeps the results of completed steps; else it runs every step again.",
    )
    validate_checkpoint_integrity: bool = Field(
        True,  # noqa: FBT003
        description="Whether a resume verifies every checksum, and the journal against the definition, first.",
    )


class PipelineModel(Model):
    """A pipeline file."""

    id: str | None = Field(None, description="The pipeline's name in commands; by default the name of the file.")
    name: str | None = Field(None, description="A title for people.")
    version: str | None = Field(None, description="The definition's version; a number is taken as it is written.")
    description: str | None = Field(None, description="What the pipeline is for.")
    inputs: dict[str, Annotated[InputModel, BeforeValidator(_input)]] = Field(
        {}, description="What a run is given: a name and a default, or a mapping, for each."
    )
    resume: ResumeModel = Field(ResumeModel(), description="Checkpoints and resume.")
    steps: list[StepModel] = Field(description="The steps. Their order says nothing: dependencies and templates do.")
    outputs: dict[str, Any] = Field({}, description="What a run returns: names and templates over inputs and results.")


MODELS: dict[str, type[Model]] = {"pipeline": PipelineModel, "step": StepModel, "resume": ResumeModel}
"""The models whose keys have second names, by their kind (see ``source.ALIASES``)."""


def json_schema() -> dict[str, Any]:
    """Return the language as JSON Schema, with the second names of keys, for editors and for the reference."""
    schema = PipelineModel.model_json_schema()
    places = {"pipeline": schema, "step": schema["$defs"]["StepModel"], "resume": schema["$defs"]["ResumeModel"]}
    for kind, names in ALIASES.items():
        properties = places[kind]["properties"]
        for other, name in names.items():
            alias: dict[str, Any] = {
                key: value for key, value in properties[name].items() if key not in ("default", "title")
            }
            properties[other] = alias | {"description": f"Another name of `{name}`."}
    step = places["step"]["properties"]
    step["retry"] = _either(step["retry"], {"type": "integer"})
    step["condition"]["anyOf"].append({"type": "boolean"})
    inputs = schema["properties"]["inputs"]
    inputs["additionalProperties"] = {
        "anyOf": [inputs["additionalProperties"], {"type": ["string", "number", "boolean", "array", "null"]}]
    }
    schema["properties"]["parameters"]["additionalProperties"] = inputs["additionalProperties"]
    version = schema["properties"]["version"]
    version["anyOf"].append({"type": "number"})
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Pipeline"}


def _either(schema: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return a property that also takes what ``other`` describes."""
    kept: dict[str, Any] = {key: schema[key] for key in ("description", "default") if key in schema}
    first = {"$ref": schema["$ref"]} if "$ref" in schema else schema["allOf"][0]
    return {**kept, "anyOf": [first, other]}
