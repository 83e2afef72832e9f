"""The curves of a training that is watched: over the progress bar on a terminal, and left standing at the end."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from visionyard.cli.curves import Cell, side_by_side
from visionyard.cli.session import Session
from visionyard.client.errors import ClientError
from visionyard.training.v1 import training_job_pb2, training_report_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

_COLOURS = ("bright_blue", "yellow", "magenta", "green")


class WatchedCurves:
    """Draws a training's curves anew whenever it has finished an epoch. Without a terminal it does nothing.

    Args:
        session: The run.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._epoch = 0
        self._epochs: Sequence[training_report_pb2.EpochFigures] = ()

    async def follow(self, job: training_job_pb2.TrainingJob) -> None:
        """Looks at a snapshot; reads the epochs' figures where there are more of them now."""
        if not self._session.progress.on_terminal or job.training_progress.epoch == self._epoch:
            return
        try:
            self._epochs = (await self._session.client.training.report(job.name)).epoch_figures
        except ClientError:
            return  # with the next snapshot, or never: the watch itself says what is wrong
        self._epoch = job.training_progress.epoch
        self._session.progress.draw_above(self._drawn())

    def leave(self) -> None:
        """Prints the curves to stay, where stdout is a terminal."""
        if self._epochs and sys.stdout.isatty():
            from rich.console import Console  # noqa: PLC0415 - only a terminal loads it

            console = Console(file=sys.stdout)
            for line in self._drawn():
                console.print(line, no_wrap=True, crop=True)

    def _drawn(self) -> list[Text]:
        return [_text(line) for line in side_by_side(self._epochs, shutil.get_terminal_size().columns)]


def _text(cells: Sequence[Cell]) -> Text:
    from rich.text import Text  # noqa: PLC0415 - likewise

    line = Text(no_wrap=True, overflow="crop")
    for cell in cells:
        line.append(cell.text, style=_COLOURS[cell.series % len(_COLOURS)] if cell.series >= 0 else "")
    return line
