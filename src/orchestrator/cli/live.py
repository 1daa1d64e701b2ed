"""What a run shows in a terminal: finished steps scroll by, running ones stand below with spinner, bar and time."""

from __future__ import annotations

import io
import sys
from itertools import islice
from typing import IO, TYPE_CHECKING, Any, cast

from orchestrator.cli import output
from orchestrator.cli.display import PlainDisplay, Running, error_text, far, plan_line, plan_notes, reused
from orchestrator.cli.output import duration, one_line, plural, style
from orchestrator.core.system import SystemClock
from orchestrator.domain.events import (
    CheckpointMade,
    ExecutionCreated,
    ExecutionFinished,
    TaskClaimed,
    TaskCompleted,
    TaskFailed,
    TaskGathered,
    TaskProgressed,
    TaskReused,
    TaskSkipped,
)

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from orchestrator.domain.events import Event
    from orchestrator.domain.plan import Plan

REFRESH_SECONDS = 0.1
PATIENCE_SECONDS = 0.2
"""A run that is over sooner never draws anything but lines."""
MANY = 1000
"""From so many steps on, completed ones are only counted."""
ROWS = 12
CONTAINERS = 4
"""Containers at work that are shown above the steps that run."""
BAR_WIDTH = 24


class LiveDisplay(PlainDisplay):
    """Lines above, what runs below; only what changed and what runs is ever looked at."""

    def __init__(self) -> None:
        super().__init__()
        self._clock = SystemClock()
        self._start = self._clock.monotonic()
        self._live: Live | None = None
        self._console: Console | None = None
        self._utf8 = (getattr(sys.stdout, "encoding", None) or "").lower().startswith("utf")

    def planned(self, execution_id: str, plan: Plan) -> None:
        """Say what a resume will do."""
        super(PlainDisplay, self).planned(execution_id, plan)
        self.put(f"execution {style(execution_id, 'bold')}: {self.opening}")
        for line in (plan_line(plan), *plan_notes(plan)):
            self.put(line)

    def remark(self, text: str) -> None:
        """Say it above what runs."""
        self.put(style(text, "yellow"))

    def leave(self) -> None:
        """Give the cursor back."""
        if self._live is not None:
            output.write("\x1b[?25h\r\n")

    def line(self, event: Event, execution_id: str, seq: int, ended: Running | None) -> str | None:
        """Return the line for a fact that scrolls by; starts and progress are seen below."""
        took = style(f"  {duration(event.at - ended.since)}", "dim") if ended is not None and ended.since else ""
        match event:
            case ExecutionCreated():
                steps = plural(event.total, "step")
                return f"execution {style(execution_id, 'bold')}: {event.pipeline_id}, {steps}"
            case TaskClaimed() | TaskProgressed() | CheckpointMade():
                return None
            case ExecutionFinished():
                status = style(event.status, output.STATUS_COLOUR.get(event.status, "bold"), "bold")
                done = f"{self.done:,} of {plural(self.total, 'step')} done"
                return f"execution {style(execution_id, 'bold')}: {status}, {done} in {duration(event.at - self.began)}"
            case TaskCompleted():
                return f"{self._mark('✓', '+', 'green')} {event.task}{took}" if self.total <= MANY else None
            case TaskGathered():
                lost = style(f"  without {plural(len(event.lost), 'item')} that failed", "red") if event.lost else ""
                few = self.total <= MANY or event.lost
                return f"{self._mark('✓', '+', 'green')} {event.task}{took}{lost}" if few else None
            case TaskReused():
                source = style(reused(event, execution_id), "dim")
                return f"{self._mark('=', '=', 'green')} {event.task}  {source}" if self.total <= MANY else None
            case TaskSkipped():
                reason = style(one_line(event.reason, 120), "dim")
                return f"{self._mark('○', 'o', 'dim')} {event.task}  {reason}" if self.total <= MANY else None
            case TaskFailed():
                mark = self._mark("✗", "x", "red") if event.retry_at is None else self._mark("↻", "~", "yellow")
                after = f"; retry in {duration(event.retry_at - event.at)}" if event.retry_at is not None else ""
                parked = "; parked" if event.parked else ""
                return f"{mark} {event.task}{took}  {error_text(event)}{after}{parked}"
            case _:
                return super().line(event, execution_id, seq, ended)

    def child_line(self, event: Event, execution_id: str, seq: int) -> str | None:
        """Return the line for a step that failed in an execution that a step runs; the rest is seen below."""
        return super().child_line(event, execution_id, seq) if isinstance(event, TaskFailed) else None

    def _mark(self, sign: str, plain: str, colour: str) -> str:
        return style(sign if self._utf8 else plain, colour)

    # -- on the display's thread ---------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait(REFRESH_SECONDS)
            self._wake.clear()
            self.paint(self._take())
            if not self._closing:
                self._draw()
                # Whatever comes meanwhile is painted together.
                self._pause()
        if self._live is not None:
            self._live.stop()
            self._live = None
        self.paint(self._take())

    def _pause(self) -> None:
        import time

        time.sleep(REFRESH_SECONDS / 2)

    def paint(self, text: str) -> None:
        """Write lines above what is drawn."""
        if not text:
            return
        if self._live is None or self._console is None:
            output.write(text)
            return
        from rich.text import Text

        self._console.print(Text.from_ansi(text.rstrip("\n")), soft_wrap=True)

    def _draw(self) -> None:
        if self._live is not None:
            self._live.update(self._block(), refresh=True)
        elif self.running and self._clock.monotonic() - self._start > PATIENCE_SECONDS and not output.is_closed():
            from rich.console import Console
            from rich.live import Live

            self._console = Console(
                file=cast("IO[str]", _Terminal()), highlight=False, force_terminal=True, no_color=_no_colour()
            )
            self._live = Live(console=self._console, auto_refresh=False, transient=True, vertical_overflow="crop",
                              redirect_stdout=False, redirect_stderr=False)  # fmt: skip
            self._live.start()
            self._live.update(self._block(), refresh=True)

    def _block(self) -> RenderableType:
        from rich.console import Group
        from rich.table import Table

        running = self.running
        height = self._console.height if self._console else 24
        shown = self._first(running, min(ROWS, max(1, height - 4 - CONTAINERS)))
        grid = Table.grid(padding=(0, 1))
        now = self._clock.now()
        for task, step in (*self._first(self.containers, CONTAINERS), *shown):
            grid.add_row(*self._row(task, step, now))
        more = len(running) - len(shown)
        rest = f"  and {more:,} more\n" if more > 0 else ""
        return Group(grid, f"{rest}{self._counts()}")

    @staticmethod
    def _first(steps: dict[str, Running], count: int) -> list[tuple[str, Running]]:
        """Return the steps that run longest; the loop may change the dict while we look, then we look again."""
        for _ in range(10):
            try:
                return list(islice(steps.items(), count))
            except RuntimeError:
                continue
        return []

    def _row(self, task: str, step: Running, now: float) -> list[Any]:
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        frames = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏" if self._utf8 else "-\\|/"
        spinner = Text(frames[int(now / REFRESH_SECONDS) % len(frames)], style="cyan")
        bar: Any = Text("")
        if step.total and step.done is not None:
            bar = ProgressBar(total=step.total, completed=step.done, width=BAR_WIDTH)
        words = [] if step.done is None else [far(step.done, step.total)]
        words += [f"attempt {step.attempt}"] * (step.attempt > 1) + [one_line(step.message, 60)] * bool(step.message)
        elapsed = Text(duration(now - step.since) if step.since and now - step.since >= 1 else "", style="dim")
        return [spinner, Text(one_line(task, 40)), elapsed, bar, Text(", ".join(words), no_wrap=True)]

    def _counts(self) -> str:
        parts = [f"{self.done:,}/{self.total:,} done", f"{len(self.running):,} running"]
        parts += [f"{self.retrying:,} waiting to retry"] * bool(self.retrying)
        parts += [f"{self.failed:,} failed"] * bool(self.failed)
        return " · ".join([*parts, duration(self._clock.monotonic() - self._start)])


def _no_colour() -> bool:
    return not output.wants_colour(sys.stdout)


class _Terminal(io.TextIOBase):
    """Stdout for rich: written past Python's buffers, and never an error when the terminal is gone."""

    def write(self, text: str, /) -> int:
        """Write now."""
        output.write(text)
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def isatty(self) -> bool:
        """It is: nobody else makes one."""
        return True

    def fileno(self) -> int:
        """Return stdout's, whose size counts."""
        return sys.stdout.fileno()
