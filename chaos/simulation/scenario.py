"""What a seed decides beforehand: a pipeline, how its steps behave, and how an undisturbed run of it ends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from chaos.simulation.expected import MODULUS, undisturbed
from orchestrator.compiler.build import build
from orchestrator.domain.ids import TaskId
from orchestrator.domain.pipeline import CheckpointWhen, Input, OnInterrupted, Pipeline, RetryPolicy, Task
from orchestrator.domain.strategy import ResumeStrategy

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

INCIDENTS = (
    "kill", "kill", "freeze", "stop", "leave", "cancel", "jump", "steal", "second", "serve", "serve", "pause", "look"
)  # fmt: skip
"""What somebody may do, or what may happen to somebody, while an execution goes on."""


@dataclass(frozen=True)
class Behaviour:
    """How a step's attempts go: the first ``fails`` of them fail, the next ``crashes`` lose their worker.

    ``poison``: every attempt loses its worker. ``seconds`` are the longest an attempt may take, one of them drawn.
    ``buckets`` is how many results there may be. ``signed``: a result tells which attempt made it, so that no two are
    alike.
    """

    fails: int = 0
    crashes: int = 0
    always_fails: bool = False
    poison: bool = False
    saves: bool = False
    padding: int = 0
    seconds: tuple[float, ...] = (0.0,)
    buckets: int = MODULUS
    signed: bool = True

    @property
    def hopeless(self) -> bool:
        """Whether it never gets done."""
        return self.always_fails or self.poison


@dataclass(frozen=True)
class Scenario:
    """One execution to be run: ``results`` is what an undisturbed run ends with (None: skipped; absent: never done).

    ``later`` are the definitions that somebody may go on with, each edited from the one before.
    """

    execution_id: str
    pipeline: Pipeline
    behaviours: Mapping[str, Behaviour]
    inputs: Mapping[str, Any]
    results: Mapping[str, int | None] = field(default_factory=dict)
    later: tuple[Scenario, ...] = ()

    def completes(self) -> bool:
        """Whether every step gets done in the end."""
        return len(self.results) == len(self.pipeline.tasks)


def draw(chance: random.Random, execution_id: str) -> Scenario:
    """Draw a pipeline of up to nine steps, and how they behave."""
    count = chance.choice((1, 2, 3, 4, 5, 6, 7, 9))
    names = [TaskId(f"t{number}") for number in range(count)]
    limit = chance.choice((1, 3, 3, 5))
    behaviours: dict[str, Behaviour] = {}
    tasks: list[Task] = []
    for index, name in enumerate(names):
        before = names[:index]
        reads = chance.sample(before, min(len(before), chance.choice((0, 1, 1, 2, 3))))
        waits = [each for each in before if each not in reads and chance.random() < 0.15]
        attempts = chance.choice((1, 1, 2, 3, 4))
        behaviours[name] = Behaviour(
            fails=chance.choice((0, 0, 0, 1, limit)) if limit <= 3 or chance.random() < 0.5 else 0,
            crashes=chance.choice((0, 0, 0, 0, 1, 3)),
            always_fails=chance.random() < 0.04,
            poison=chance.random() < 0.02,
            saves=chance.random() < 0.3,
            padding=chance.choice((0, 0, 40, 1500)),
            seconds=chance.choice(((0.0,), (0.1, 1.0), (3.0, 20.0), (0.1, 100.0))),
        )
        condition = None
        if reads and chance.random() < 0.2:
            condition = f"{{{{ {reads[0]}.result == None or {reads[0]}.result.v % 3 != 0 }}}}"
        tasks.append(
            Task(
                name,
                "simulated",
                parameters={
                    "reads": {each: f"{{{{ {each}.result }}}}" for each in reads},
                    "start": "{{ inputs.start }}" if chance.random() < 0.5 else 7,
                },
                dependencies=tuple(waits),
                condition=condition,
                timeout=chance.choice((None, None, None, 30.0)),
                retry=RetryPolicy(
                    max_attempts=attempts,
                    delay_seconds=chance.choice((0.0, 0.5, 5.0)),
                    jitter=chance.random() < 0.5,
                    on=chance.choice(((), (), ("flaky",), ("timeout",))),
                ),
                critical=chance.random() < 0.1,
                checkpoint=chance.choice(list(CheckpointWhen)),
                on_interrupted=chance.choice((OnInterrupted.RERUN,) * 6 + (OnInterrupted.FAIL, OnInterrupted.ASK)),
            )
        )
    shown = [name for name in names if chance.random() < 0.4]
    strategy = ResumeStrategy(
        max_retry_attempts=limit,
        checkpoint_interval_seconds=chance.choice((2.0, 60.0)),
        validate_checkpoint_integrity=chance.random() < 0.8,
    )
    pipeline = build(
        id="simulated",
        tasks=tasks,
        inputs=[Input("start", "integer", required=True)],
        outputs={name: f"{{{{ {name}.result }}}}" for name in shown},
        resume=strategy,
    )
    inputs = {"start": chance.randint(1, 5)}
    return Scenario(execution_id, pipeline, behaviours, inputs, undisturbed(pipeline, behaviours, inputs))
