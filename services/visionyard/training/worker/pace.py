"""An attempt's pace: it is timed, told of, measured for later estimates, and stopped where its time or money runs out."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import psutil

from visionyard.kit.jobs.context import JobContext
from visionyard.training.config import TrainingSettings
from visionyard.training.estimates.clock import RunClock
from visionyard.training.estimates.effort import Effort
from visionyard.training.estimates.estimates import estimate_of
from visionyard.training.estimates.machine import this_machine
from visionyard.training.estimates.measured import MeasuredMachines
from visionyard.training.estimates.measurement import Measurement, measurement_id
from visionyard.training.limits import Allowance, EarlyStop, Spent
from visionyard.training.spec import TrainingSpec

_log = logging.getLogger(__name__)


class LimitReached(Exception):
    """The time limit or the budget is used up within an epoch; the ones before it are kept."""


class Pace:
    """One attempt's.

    Args:
        context: The job.
        spec: Its specification.
    """

    def __init__(self, context: JobContext, spec: TrainingSpec) -> None:
        self._context = context
        began = time.monotonic() - max(time.time() - psutil.Process().create_time(), 0.0)
        self.clock = RunClock(began)
        estimate = estimate_of(context.job.pointers)
        self._expected = estimate.expectation if estimate is not None else None
        # Where this machine's operator has named no price, that of the machine that the training was asked of limits its budget.
        self._price = cast("TrainingSettings", context.settings).price or (estimate.known.price if estimate is not None else None)
        before = Spent.from_json(context.job.pointers.get("spent"))
        self._allowance = Allowance(spec.time_limit_s, spec.budget, self._price, before, began, spec.machines)
        self._stored = int((context.job.pointers.get("checkpoint") or {}).get("epoch", 0))
        self._before = self._stored
        self._early_stop: EarlyStop | None = None
        self._facts: dict[str, Any] = {}
        self._done, self._epochs, self._step, self._steps = self._stored, 0, 0, 0
        self._written = self._broken_off = False

    def callbacks(self) -> Mapping[str, Callable[[Any], None]]:
        """Hooks for Ultralytics' trainer, to be called before those that store an epoch."""
        return {
            "on_train_epoch_start": self._epoch_start,
            "on_train_batch_start": self._batch_start,
            "on_train_batch_end": self._batch_end,
            "on_train_epoch_end": lambda _: self.clock.trained(),
            "on_val_start": lambda _: self.clock.validation_begins(),
            "on_val_batch_start": lambda _: self.clock.validation_batch_begins(),
            "on_val_batch_end": lambda _: self.clock.validation_batch_ends(),
            "on_val_end": self._val_end,
            "on_model_save": self._model_save,
            "on_fit_epoch_end": self._epoch_end,
        }

    def pointers(self) -> dict[str, Any]:
        """What the job is to keep of it: what was spent, and why the training ends early, where it does."""
        ends = {"early_stop": self._early_stop.value} if self._early_stop is not None else {}
        return {"spent": self._allowance.spent.to_json(), **ends}

    def expected_end(self) -> str:
        """When the run is expected to end, ISO 8601; empty where that cannot be told."""
        remaining = self._remaining_s()
        return (datetime.now(UTC) + timedelta(seconds=remaining)).isoformat() if remaining is not None else ""

    def _remaining_s(self) -> float | None:
        end = self._expected.end_s if self._expected is not None else self.clock.validation_s
        if self._epochs:
            if self._done >= self._epochs or self._early_stop is not None:
                return max(end - self.clock.end_s, 0.0)
            return self.clock.remaining_s(self._done, self._epochs, self._step, self._steps, self._expected, end)
        if self._expected is None or self._before:
            return None
        return max(self._expected.seconds - self.clock.since_began_s, 0.0)

    def _epoch_start(self, trainer: Any) -> None:
        self._done, self._epochs, self._step, self._steps = int(trainer.epoch), int(trainer.epochs), 0, len(trainer.train_loader)
        self._facts = {
            "parameter_count": sum(parameter.numel() for parameter in trainer.model.parameters()),
            "train_images": len(trainer.train_loader.dataset),
            "val_images": len(trainer.test_loader.dataset) if trainer.args.val else 0,
            "batch_size": max(int(trainer.batch_size), 1),
            "mixed_precision": bool(trainer.amp),
            "processes": max(int(trainer.world_size or 1), 1),
        }
        self.clock.epoch_begins(self._steps, self._facts["train_images"] / self._facts["batch_size"])

    def _batch_start(self, _: Any) -> None:
        self.clock.batch_begins()

    def _batch_end(self, _: Any) -> None:
        self.clock.batch_ends()
        self._step += 1
        if self._facts["processes"] > 1:
            return  # the others would wait for this one: together they end with an epoch
        if self._allowance.left_s() <= 0:
            self._early_stop = self._allowance.nearest()
            if not self._stored:
                raise self._allowance.over()
            self._broken_off = True
            raise LimitReached

    def _model_save(self, trainer: Any) -> None:
        """Ends the training with this epoch where the next one, and the last validation, would not fit into what is left."""
        self._stored = self._done = int(trainer.epoch) + 1
        if trainer.stop:
            if self._done < int(trainer.epochs) and not trainer.args.time:
                self._early_stop = EarlyStop.NO_IMPROVEMENT
        elif self._allowance.left_s() < max(self.clock.epoch_s or 0.0, self.clock.in_epoch_s) + self.clock.validation_s:
            self._early_stop = self._allowance.nearest()
            _log.info("the training ends after epoch %d: its %s would not last for another", self._done, self._early_stop.value)
            trainer.stop = True

    def _val_end(self, validator: Any) -> None:
        """Ultralytics draws in a training's first validation if that is the last one too, and in no other but the one behind the end."""
        computed_ms = sum(validator.speed.values()) * len(validator.dataloader.dataset)
        self.clock.validation_ends(computed_ms / 1000 if validator.args.plots else None)

    def _epoch_end(self, _: Any) -> None:
        self.clock.epoch_ends()

    def measured(self, *, ended: bool) -> None:
        """Puts down what was measured, once; trouble is only logged, since the training itself is none the worse.

        Args:
            ended: Whether the model version is made.
        """
        times, effort = self.clock.times(), self._context.job.pointers.get("effort")
        if times is None or effort is None or self._written:
            return
        self._written = True
        job = self._context.job
        through = ended and not self._before and job.attempt == 1 and self._early_stop is None and times.epochs == self._epochs
        measurement = Measurement(
            id=measurement_id(str(job.name), job.attempt),
            time=datetime.now(UTC),
            effort=dataclasses.replace(Effort.from_json(effort), **self._facts),
            end_s=self.clock.end_s if ended and not self._broken_off else None,
            expected_s=self._expected.seconds if through and self._expected is not None else None,
            taken_s=self.clock.since_began_s if through and self._expected is not None else None,
            **dataclasses.asdict(times),
        )
        try:
            machine = this_machine(uses_gpus=bool(os.environ.get("CUDA_VISIBLE_DEVICES")))
            MeasuredMachines(self._context.store).add_own(machine, measurement, self._price)
        except Exception:  # noqa: BLE001 - a model that is made is worth more than its figures
            _log.exception("what this training took could not be put down for later estimates")
