"""How far a long command is, on stderr: a bar on a terminal, a line now and then where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

from visionyard.cli.output import plain, size

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import Progress, TaskID
    from rich.text import Text

_LINE_EVERY_S = 5.0
_SILENT_S = 1.0
"""What takes no longer shows nothing without a terminal."""


@dataclass(frozen=True)
class Step:
    """How far something is.

    Attributes:
        what: What is being done: ``uploading cones.zip``.
        done: How much is done.
        total: How much there is to do; 0 where that cannot be told.
        unit: What both count; ``bytes`` are shown in KiB, MiB, ...
        detail: More, for people: losses and the like.
    """

    what: str
    done: int = 0
    total: int = 0
    unit: str = ""
    detail: str = ""

    def amount(self) -> str:
        """``3/12 images``, ``1.5 MiB of 3.0 MiB``."""
        if not (self.done or self.total):
            return ""
        if self.unit == "bytes":
            return f"{size(self.done)} of {size(self.total)}" if self.total else size(self.done)
        count = f"{self.done}/{self.total}" if self.total else str(self.done)
        return f"{count} {self.unit}".rstrip()


class ProgressDisplay:
    """Shows steps while it is entered. Cheap to call."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._began = self._last = time.monotonic()
        self._what = ""
        self._progress: Progress | None = None
        self._task: TaskID | None = None
        self._above: list[Text] = []

    @property
    def on_terminal(self) -> bool:
        """Whether there is a terminal to draw on."""
        return self._terminal

    def draw_above(self, lines: Sequence[Text]) -> None:
        """Has lines stand over the bar from now on; without a terminal nothing is drawn."""
        self._above[:] = lines

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.stop()

    def update(self, step: Step) -> None:
        """Shows a step."""
        if self._terminal:
            self._bar(step)
        else:
            self._line(step)

    def bytes(self, what: str, done: int, total: int) -> None:
        """A transfer: what is being done, bytes done and in all."""
        self.update(Step(what, done, total, "bytes"))

    def say(self, sentence: str) -> None:
        """A message, above the bar where there is one."""
        if self._progress is not None:
            self._progress.console.print(plain(sentence), markup=False, highlight=False)
        else:
            sys.stderr.write(f"{plain(sentence)}\n")
            sys.stderr.flush()

    def _line(self, step: Step) -> None:
        now = time.monotonic()
        new = step.what != self._what and now - self._began >= _SILENT_S
        if not new and now - self._last < _LINE_EVERY_S:
            return
        self._what, self._last = step.what, now
        self.say(", ".join(part for part in (step.what, step.amount(), step.detail) if part))

    def _bar(self, step: Step) -> None:
        if self._progress is None:
            self._progress = _new_progress(self._above)
            self._progress.start()
        if self._task is None or step.what != self._what:
            if self._task is not None:
                self._progress.update(self._task, visible=False)
            self._what = step.what
            self._task = self._progress.add_task(plain(step.what), total=step.total or None, amount="", detail="")
        self._progress.update(self._task, completed=step.done, total=step.total or None, amount=step.amount(), detail=plain(step.detail))


def _new_progress(above: Sequence[Text]) -> Progress:
    """A bar.

    Args:
        above: The lines over it; whoever holds the list may change it.
    """
    from rich.console import Console  # noqa: PLC0415 - only a long command on a terminal loads it
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415 - likewise

    class Topped(Progress):
        """A bar under lines."""

        def get_renderables(self) -> Iterable[RenderableType]:
            yield from above
            yield from super().get_renderables()

    return Topped(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.fields[amount]}", markup=False),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("{task.fields[detail]}", markup=False),
        console=Console(file=sys.stderr),
        transient=True,
        # Results that are written meanwhile go above the bar where stdout is the terminal too. Elsewhere they must go where stdout leads.
        redirect_stdout=sys.stdout.isatty(),
    )
