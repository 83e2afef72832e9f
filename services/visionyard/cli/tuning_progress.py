"""How far a search is, on stderr: a table that is drawn anew on a terminal, a line a step of a trial where there is none."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

from visionyard.cli import output
from visionyard.cli.progress import ProgressDisplay
from visionyard.cli.tuning_results import cells, metric_name, parameters_of, state_word, value_text
from visionyard.client.jobs import Snapshot
from visionyard.training.v1 import tuning_job_pb2

if TYPE_CHECKING:
    from rich.live import Live

_MOST_ROWS = 20


class TuningProgress:
    """Shows snapshots of a search while it is entered.

    Args:
        display: Where lines go without a terminal.
    """

    def __init__(self, display: ProgressDisplay) -> None:
        self._display = display
        self._terminal = sys.stderr.isatty()
        self._live: Live | None = None
        self._said: dict[int, tuple[int, int]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, snapshot: Snapshot[tuning_job_pb2.TuningJob]) -> None:
        """Shows one."""
        if self._terminal:
            self._draw(snapshot.job)
        else:
            for line in self._news(snapshot.job):
                self._display.say(line)

    def _news(self, job: tuning_job_pb2.TuningJob) -> list[str]:
        """A line for each trial that has come to another state or rung since the last snapshot."""
        lines = []
        for trial in job.trials:
            where = (trial.state, trial.rung)
            if self._said.get(trial.number) == where:
                continue
            self._said[trial.number] = where
            own = ", ".join(f"{name} {value_text(value)}" for name, value in parameters_of(trial).items())
            value = f", {metric_name(job)} {trial.value:.4g}" if trial.HasField("value") else ""
            error = f": {trial.error.message}" if trial.error.message else ""
            lines.append(f"trial {trial.number} ({own}): {state_word(trial)}, rung {trial.rung}{value}{error}")
        return lines

    def _draw(self, job: tuning_job_pb2.TuningJob) -> None:
        from rich import box  # noqa: PLC0415 - only a long command on a terminal loads it
        from rich.console import Console  # noqa: PLC0415 - likewise
        from rich.live import Live  # noqa: PLC0415 - likewise
        from rich.table import Table  # noqa: PLC0415 - likewise
        from rich.text import Text  # noqa: PLC0415 - likewise

        headers, rows = cells(job)
        progress = job.status.progress
        shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=output.plain(f"{progress.phase}: {progress.done}/{progress.total} trials"))
        for header in headers:
            shown.add_column(output.plain(header), overflow="fold")
        for row in rows[:_MOST_ROWS]:
            shown.add_row(*(Text(output.plain(cell)) for cell in row))
        if len(rows) > _MOST_ROWS:
            shown.add_row("...", f"and {len(rows) - _MOST_ROWS} more")
        if self._live is None:
            self._live = Live(console=Console(file=sys.stderr), transient=True, auto_refresh=False, redirect_stdout=sys.stdout.isatty())
            self._live.start()
        self._live.update(shown, refresh=True)
