"""Epochs that a job has kept (``save_period``), and going on from one of them.

A checkpoint's pointer holds besides its own files, under ``kept``, what the run looked like at each of them: ``{"3": {"weights/last.pt": entry, "weights/best.pt": entry, ...}}``, numbers
of finished epochs. So going back needs nothing but the pointer: ``best.pt`` is the best epoch until then, and ``results.csv`` ends there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from visionyard.kit.errors import YardError, invalid_field
from visionyard.kit.jobs.model import Job

_BEST = "weights/best.pt"
KEPT_WEIGHTS = "weights/epoch"
"""How the paths of kept epochs begin; Ultralytics counts them from 0: ``weights/epoch2.pt`` has three finished epochs."""
EVENT_FILES = "tensorboard/"
"""How the paths of event files begin; each attempt writes its own."""


def outlive(path: str) -> bool:
    """Whether a checkpoint's file stays with the job when other attempts go on."""
    return path.startswith((KEPT_WEIGHTS, EVENT_FILES))


def entries(checkpoint: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Every file that a checkpoint points at, those of kept epochs too."""
    yield from checkpoint.get("files", {}).values()
    for files in checkpoint.get("kept", {}).values():
        yield from files.values()


def checkpoint_at(job: Job, epoch: int) -> dict[str, Any]:
    """The checkpoint of a kept epoch, without what came later.

    Args:
        job: The job.
        epoch: How many epochs were finished, from 1.

    Raises:
        YardError: INVALID_FIELD, it was not kept; the message names those that are.
    """
    checkpoint = job.pointers.get("checkpoint") or {}
    if epoch == checkpoint.get("epoch"):
        return {**checkpoint, "ended": False}
    kept = checkpoint.get("kept", {})
    if str(epoch) not in kept:
        raise _not_kept(job, epoch, sorted(map(int, kept)))
    earlier = {number: files for number, files in kept.items() if int(number) <= epoch}
    weights = {path: entry for path, entry in checkpoint["files"].items() if path.startswith(KEPT_WEIGHTS) and _finished(path) <= epoch}
    files = {**weights, **kept[str(epoch)]}
    measured = {**checkpoint.get("measured", {}), "best_epoch": _best_of(files.get(_BEST, {}), epoch)}
    return {"epoch": epoch, "ended": False, "files": files, "measured": measured, "kept": earlier}


def _best_of(entry: Mapping[str, Any], epoch: int) -> int:
    """The epoch that a kept best.pt is of: checkpoints lie under their epoch's number."""
    number = re.search(r"/checkpoints/(\d+)/", str(entry.get("key", "")))
    return int(number.group(1)) if number else epoch


def _finished(path: str) -> int:
    return int(path.removeprefix(KEPT_WEIGHTS).removesuffix(".pt")) + 1


def _not_kept(job: Job, epoch: int, kept: list[int]) -> YardError:
    last = (job.pointers.get("checkpoint") or {}).get("epoch", 0)
    held = sorted({*kept, *([last] if last else [])})
    what = f"it has {', '.join(map(str, held))}" if held else "it has none"
    return invalid_field(
        "from_epoch", f"job {job.name.id} has not kept epoch {epoch}: {what}; --set save_period=N keeps one in N epochs of a new training"
    )
