"""Event files for TensorBoard: a scalar a metric and epoch, under the names of ``results.csv``.

Ultralytics' own integration logs an epoch's validation only after its checkpoint is saved, so what a crash leaves would lack it; here an epoch's values are
written in one go, before it is stored. Each attempt writes a file of its own, as TensorBoard wants it; ``purge_step`` hides what an attempt before wrote of
epochs that are trained anew.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

from visionyard.training.kept_epochs import EVENT_FILES


class EventFiles:
    """Writes one attempt's events.

    Args:
        run: The run's folder; the file comes below ``tensorboard/``.
        stored_epoch: How many epochs an earlier attempt has stored.
    """

    def __init__(self, run: Path, stored_epoch: int) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages that TensorBoard imports
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - only for jobs that ask for it: it takes a second
        self._folder = run / EVENT_FILES
        self._writer = SummaryWriter(str(self._folder), purge_step=stored_epoch + 1)

    def write(self, epoch: int, values: Mapping[str, float]) -> Path:
        """Writes an epoch's values and gives the file, which is written to again in the next epoch."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        self._writer.flush()
        return next(path for path in self._folder.iterdir())

    def close(self) -> None:
        """Ends the file."""
        self._writer.close()
