"""What a rank does: Ultralytics' training in a process group, by gloo on CPUs and NCCL on GPUs.

Ultralytics 8.4 starts the ranks itself, from a file that it writes, where it finds several devices and ``LOCAL_RANK`` unset; what is hooked into it and
its own trainers would be lost there. With torchrun's variables set it trains as a rank (``ultralytics/engine/trainer.py``), but takes every group
for one of GPUs of one machine. What differs is set right here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import distributed, nn
from ultralytics.utils.callbacks import get_default_callbacks

from visionyard.kit.jobs.context import JobContext
from visionyard.training.kept_epochs import entries
from visionyard.training.reports.phases import Stopwatch
from visionyard.training.spec import TrainingSpec
from visionyard.training.worker import results
from visionyard.training.worker.callbacks import TrainingHooks
from visionyard.training.worker.checkpoints import sweep
from visionyard.training.worker.choices import choosing, pretrained_argument
from visionyard.training.worker.measuring import Measuring
from visionyard.training.worker.pace import Pace
from visionyard.training.worker.task_classes import Maker, trainer_and_validator
from visionyard.training.worker.trainer import LAST_MOMENT_S, allow_torchvision, device_and_name, overrides_from, place_amp_model, put_back

_log = logging.getLogger(__name__)
_WAIT = timedelta(hours=3)
"""How long a rank waits for the others, as in Ultralytics; a rank that dies is noticed by its connection, long before."""


def train_epochs(context: JobContext, spec: TrainingSpec, task: str, data: Path, watch: Stopwatch, pace: Pace) -> None:
    """Trains to the last epoch, from where an earlier attempt had come.

    Args:
        context: The job.
        spec: What to train.
        task: The dataset's task.
        data: The ``data.yaml`` of the materialised dataset; its folder for ``classify``.
        watch: Runs since the rank began.
        pace: Times it; rank 0's ends it where its time or budget runs out.

    Raises:
        YardError: ARTIFACT_CORRUPT, the stored checkpoint cannot be read.
        Preempted, LeaseLost: the job must stop.
    """
    allow_torchvision()
    rank, local_rank, ranks = (int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
    folder, own = context.scratch / "run", context.scratch / f"rank{local_rank}"
    for path in (folder, own):
        path.mkdir(parents=True, exist_ok=True)
    checkpoint = context.job.pointers.get("checkpoint")
    model = results.initial_model(context, spec, own)
    device, device_name = device_and_name(local_rank)
    begin_with = pretrained_argument(results.pretrained_weights(context, spec, own))
    arguments = {**spec.arguments(), **begin_with, "rect": False}  # pictures in the order of their shapes cannot be dealt out to several
    with _group(device, ranks) as together:
        if local_rank == 0 and checkpoint:
            put_back(context, checkpoint, folder, arguments)
        if rank == 0 and device != "cpu":
            place_amp_model()
        if rank == 0 and context.job.attempt > 1:
            sweep(context, entries(checkpoint or {}))
        together()
        overrides = overrides_from(checkpoint, arguments, model, {"data": str(data), "device": device, "save_dir": str(folder)})
        make_trainer, _ = trainer_and_validator(task, model)
        make_trainer = choosing(make_trainer, spec.best_metric, spec.pretrained_model_version)
        hooks = _hooks(context, device_name, checkpoint or {}, watch, pace) if rank == 0 else None
        try:
            trainer = in_group(make_trainer)(overrides=overrides, _callbacks=hooks.callbacks() if hooks else get_default_callbacks())
            trainer.train()
            if hooks:
                hooks.checkpoints.wait()
            together()
            if hooks:
                pace.measured(ended=False)
        finally:
            if hooks:
                hooks.checkpoints.close(LAST_MOMENT_S)
                hooks.close()


def _hooks(context: JobContext, device_name: str, checkpoint: Mapping[str, Any], watch: Stopwatch, pace: Pace) -> TrainingHooks:
    """Rank 0's; what the best weights get wrong the worker sees, which validates them."""
    measuring = Measuring(watch, checkpoint.get("measured", {}))
    return TrainingHooks(context, context.job.spec, device_name, checkpoint.get("epoch", 0), measuring, None, pace)


@contextmanager
def _group(device: str, ranks: int) -> Iterator[Callable[[], None]]:
    """Joins the other ranks; gives what waits for all of them. One rank is no group."""
    if ranks == 1:
        yield lambda: None
        return
    if device != "cpu":
        torch.cuda.set_device(int(device))
    distributed.init_process_group("gloo" if device == "cpu" else "nccl", timeout=_WAIT)
    yield _meet
    distributed.destroy_process_group()  # not after an exception: it would wait for ranks that are gone


def _meet() -> None:
    distributed.barrier()


class _OnCpu(nn.parallel.DistributedDataParallel):
    """Takes the ``device_ids`` that Ultralytics gives, ``[None]`` on a CPU, where torch wants none."""

    def __init__(self, module: nn.Module, device_ids: object, **options: Any) -> None:  # noqa: ARG002 - see above
        super().__init__(module, **options)


def in_group(make_trainer: Maker) -> Maker:
    """A trainer's class as one of a group; it leaves the end's validation to the worker."""

    class Member(_GroupMember, make_trainer):  # type: ignore[valid-type,misc]  # Ultralytics has no types
        pass

    return Member


class _GroupMember:
    """What goes before a trainer's class: the group's size and device are the process group's, not those that Ultralytics makes out of its ``device``."""

    # Set by Ultralytics' trainers.
    args: Any
    device: Any
    world_size: int
    loss: Any
    fitness: Any
    last: Path

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        if distributed.is_initialized():
            self.world_size = distributed.get_world_size()

    def _setup_ddp(self) -> None:
        """The ranks have met already."""

    def _setup_train(self) -> None:
        # Ultralytics has taken all cores but one for each rank.
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
        with mock.patch.object(nn.parallel, "DistributedDataParallel", _OnCpu) if self.device.type == "cpu" else nullcontext():
            super()._setup_train()  # type: ignore[misc]  # the trainer's own, which comes behind

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Ultralytics goes back to ``last.pt``, which only rank 0's machine has."""
        if distributed.is_initialized() and os.environ["GROUP_WORLD_SIZE"] != "1":
            self._hand_out_last()
        recovered: bool = super()._handle_nan_recovery(epoch)  # type: ignore[misc]  # likewise
        return recovered

    def _hand_out_last(self) -> None:
        broken = not all(np.isfinite(float(value)) for value in (self.loss, self.fitness) if value is not None)
        handed: list[Any] = [self.last.read_bytes() if distributed.get_rank() == 0 and broken and self.last.exists() else None]
        distributed.broadcast_object_list(handed, 0)
        if handed[0] is not None and distributed.get_rank() != 0 and os.environ["LOCAL_RANK"] == "0":
            self.last.write_bytes(handed[0])
        distributed.barrier()

    def final_eval(self) -> None:
        """The worker validates the best weights, alone; Ultralytics would have every rank do so, on a GPU."""
