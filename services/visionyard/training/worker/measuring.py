"""What an attempt measures of itself: time by phase, pictures a second, the GPU. It is kept with the checkpoint, so that it adds up over attempts.

``checkpoint["measured"]``::

    {"seconds": {"start": 3.1, "fetch": 0.4, "data": 1.2, "training": 40.0, "validation": 6.1, "saving": 1.9}, "images": 960, "best_epoch": 5,
     "gpu": {"name": "NVIDIA ...", "samples": 52, "utilisation_sum": 38.4, "peak_memory_bytes": 9000000000, "memory_bytes": 85899345920}}

``gpu`` is there only where there is one. What was computed after the last stored epoch of an attempt that was killed is counted nowhere.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from typing import Any

from visionyard.training.gpus import GpuState, gpu_state
from visionyard.training.reports.phases import Stopwatch

_SAMPLE_EVERY_S = 1.0


class GpuSampler:
    """Looks at the slot's GPU once a second, in a thread; nothing of it waits for the GPU.

    Memory and utilisation are the device's, whoever uses it.

    Args:
        visible: ``CUDA_VISIBLE_DEVICES``, whose first entry is the GPU; empty for none.
        look: Tells how a GPU is; a test gives its own.
    """

    def __init__(self, visible: str, look: Callable[[str], GpuState | None] = gpu_state) -> None:
        self._gpu = visible.split(",", maxsplit=1)[0].strip()
        self._look = look
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._totals: dict[str, Any] = {}
        if self._gpu:
            threading.Thread(target=self._run, name="gpu-sampler", daemon=True).start()

    def totals(self) -> dict[str, Any]:
        """``name``, ``samples``, ``utilisation_sum`` (of shares from 0 to 1), ``peak_memory_bytes``, ``memory_bytes``; empty without a GPU."""
        with self._lock:
            return dict(self._totals)

    def close(self) -> None:
        """Ends the thread."""
        self._ended.set()

    def _run(self) -> None:
        while (state := self._look(self._gpu)) is not None:
            self.note(state)
            if self._ended.wait(_SAMPLE_EVERY_S):
                return

    def note(self, state: GpuState) -> None:
        """Takes one look into account; one that tells no utilisation counts for the memory only."""
        seen = {} if state.utilisation_ratio is None else {"samples": 1, "utilisation_sum": state.utilisation_ratio}
        looked = {"name": state.name, "peak_memory_bytes": state.total_bytes - state.free_bytes, "memory_bytes": state.total_bytes}
        with self._lock:
            self._totals = together(self._totals, {**looked, "samples": 0, "utilisation_sum": 0.0, **seen})


class Measuring:
    """The figures of one attempt on top of those of the attempts before.

    Args:
        watch: Runs since the attempt began.
        before: ``checkpoint["measured"]`` of the attempt before; empty for none.
    """

    def __init__(self, watch: Stopwatch, before: Mapping[str, Any]) -> None:
        self._watch = watch
        self._watch.add(before.get("seconds", {}))
        self._before = before
        self._images = int(before.get("images", 0))
        self._best_epoch = int(before.get("best_epoch", 0))
        self._gpu = GpuSampler(os.environ.get("CUDA_VISIBLE_DEVICES", ""))

    def callbacks(self) -> dict[str, Callable[[Any], None]]:
        """The hooks that tell the phases apart; see :mod:`.callbacks` for their order."""

        def entering(phase: str) -> Callable[[Any], None]:
            return lambda _: self._watch.enter(phase)

        return {
            "on_train_start": entering("data"),
            "on_train_epoch_start": entering("data"),
            "on_train_batch_start": entering("training"),
            "on_train_batch_end": entering("data"),
            "on_train_epoch_end": self._epoch_end,
            "on_val_start": entering("validation"),
            "on_val_end": entering("saving"),
        }

    def _epoch_end(self, trainer: Any) -> None:
        self._watch.enter("saving")
        self._images += len(trainer.train_loader.dataset)

    def saved(self, epoch: int, *, is_best: bool) -> dict[str, Any]:
        """What goes with the checkpoint of an epoch."""
        if is_best:
            self._best_epoch = epoch
        return self.totals()

    def totals(self) -> dict[str, Any]:
        """The figures until now; see the module."""
        figures: dict[str, Any] = {"seconds": self._watch.seconds(), "images": self._images, "best_epoch": self._best_epoch}
        gpu = together(self._before.get("gpu", {}), self._gpu.totals())
        return {**figures, "gpu": gpu} if gpu else figures

    def close(self) -> None:
        """Ends what runs beside the training."""
        self._gpu.close()


def together(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Earlier looks at a GPU and later ones in one; the later ones name it."""
    if not (before and now):
        return dict(now or before)
    return {
        **now,
        "samples": before["samples"] + now["samples"],
        "utilisation_sum": before["utilisation_sum"] + now["utilisation_sum"],
        "peak_memory_bytes": max(before["peak_memory_bytes"], now["peak_memory_bytes"]),
    }
