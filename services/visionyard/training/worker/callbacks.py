"""What the worker hooks into Ultralytics' training: stop when asked, tell how far it is, keep every epoch.

Ultralytics 8.4 calls them in this order: pretrain_routine_start/end, train_start, then for each epoch train_epoch_start, (train_batch_start/end) x n,
train_epoch_end, val_*, model_save, fit_epoch_end; then final_eval with one fit_epoch_end more, and train_end.
"""

from __future__ import annotations

import csv
import math
import re
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
import yaml
from ultralytics.utils.callbacks import get_default_callbacks

from visionyard.kit.cpus import usable_cpus
from visionyard.kit.jobs.context import JobContext
from visionyard.training.config import TrainingSettings
from visionyard.training.kept_epochs import EVENT_FILES
from visionyard.training.spec import TrainingSpec
from visionyard.training.worker.checkpoints import ARGUMENTS, RESULTS, CheckpointStore, Saved
from visionyard.training.worker.event_files import EventFiles
from visionyard.training.worker.measuring import Measuring
from visionyard.training.worker.observing import ValidationObserver
from visionyard.training.worker.pace import Pace
from visionyard.training.worker.threads import ThreadTrial

_REPORT_INTERVAL_S = 0.5
PATH_ARGUMENTS = frozenset({"model", "data", "save_dir", "project", "name", "device", "resume", "pretrained"})
"""Arguments that name what is this machine's; ``pretrained`` may be a path too."""

_CHOICES = {"pretrained_model_version": "pretrained", "best_metric": "best_metric", "tensorboard": "tensorboard"}
"""What the job chose beyond Ultralytics' arguments, and what ``args.yaml`` calls it."""


class TrainingHooks:
    """The callbacks of one attempt.

    Args:
        context: The job.
        spec: Its specification, for the ``args.yaml`` that users get.
        device_name: What it trains on, for people.
        stored_epoch: How many epochs an earlier attempt has stored.
        measuring: What the attempt measures of itself.
        observer: Sees what the final validation finds; None where another process does that.
        pace: Times it, and ends it where its time or budget runs out.
    """

    def __init__(
        self,
        context: JobContext,
        spec: Mapping[str, Any],
        device_name: str,
        stored_epoch: int,
        measuring: Measuring,
        observer: ValidationObserver | None,
        pace: Pace,
    ) -> None:
        self._context = context
        self._spec = spec
        self._pace = pace
        self._lock = threading.Lock()
        self._detail: dict[str, Any] = {
            "epoch": stored_epoch,
            "epochs": 0,
            "step": 0,
            "steps": 0,
            "metrics": {},
            "gpu_memory_bytes": 0,
            "device": device_name,
            "processes": TrainingSpec.from_json(spec).processes,
        }
        self._saved_epoch = stored_epoch
        self._epoch_metrics: dict[int, dict[str, float]] = {}
        self._best_written_ns = 0
        self._reported_at = 0.0
        self._finish_epoch_s = cast("TrainingSettings", context.settings).finish_epoch_s
        self._threads: ThreadTrial | None = None
        self.measuring = measuring
        self._observer = observer
        self._events: EventFiles | None = None
        self.checkpoints = CheckpointStore(context, self._stored)

    def callbacks(self) -> dict[str, list[Callable[[Any], None]]]:
        """The hooks in the form that Ultralytics' trainers take."""
        hooks: dict[str, list[Callable[[Any], None]]] = get_default_callbacks()
        for event, hook in self._pace.callbacks().items():
            hooks.setdefault(event, []).append(hook)
        for event, hook in {
            "on_pretrain_routine_start": self._stop_if_asked,
            "on_pretrain_routine_end": self._pretrain_routine_end,
            "on_train_start": self._train_start,
            "on_train_epoch_start": self._epoch_start,
            "on_train_batch_start": self._batch_start,
            "on_train_batch_end": self._batch_end,
            "on_val_start": self._stop_if_asked,
            "on_val_batch_start": self._stop_if_asked,
            "on_model_save": self._model_save,
        }.items():
            hooks.setdefault(event, []).append(hook)
        # The phases end before what is done here begins, so that waiting for the bucket counts as saving.
        for event, hook in self.measuring.callbacks().items():
            hooks.setdefault(event, []).insert(0, hook)
        for event, hook in (self._observer.callbacks() if self._observer else {}).items():
            hooks.setdefault(event, []).append(hook)
        return hooks

    def report(self, phase: str) -> None:
        """Tells how far the job is."""
        with self._lock:
            detail = {**self._detail, "metrics": dict(self._detail["metrics"]), "expected_end_time": self._pace.expected_end()}
        self._context.report(phase, detail["epoch"], detail["epochs"], "epochs", detail)

    def _stop_if_asked(self, _: Any) -> None:
        self._context.check()

    def _pretrain_routine_end(self, trainer: Any) -> None:
        self._context.check()
        if self._observer is not None:
            self._observer.watch(trainer.validator)

    def _train_start(self, trainer: Any) -> None:
        if trainer.device.type == "cpu" and self._detail["processes"] == 1:  # several have shares of the cores, and wait for each other
            self._threads = ThreadTrial(usable_cpus(), torch.set_num_threads)
        if not trainer.args.time:
            trainer.train_time_start -= _trained_seconds(trainer.csv)
        with self._lock:
            self._detail |= {"epochs": int(trainer.epochs), "steps": len(trainer.train_loader), "step": 0}
        self._best_written_ns = _written_ns(trainer.best)
        if self._spec.get("tensorboard"):
            self._events = EventFiles(Path(trainer.save_dir), self._saved_epoch)
        self.report("training")

    def _epoch_start(self, trainer: Any) -> None:
        self._context.check()
        if self._context.asked_for_room:
            self.checkpoints.wait()  # between two epochs nothing is lost
            self._context.make_room()
        with self._lock:
            # The batch may have been halved for want of memory, and `time` changes the number of epochs.
            self._detail |= {"epochs": int(trainer.epochs), "steps": len(trainer.train_loader), "step": 0}

    def _batch_start(self, _: Any) -> None:
        self._context.check()
        self._context.make_room(self._finish_epoch_s)
        if self._threads is not None:
            self._threads.batch_begins()

    def _batch_end(self, trainer: Any) -> None:
        if self._threads is not None:
            self._threads.batch_ends()
        self._context.check()
        now = time.monotonic()
        with self._lock:
            self._detail["step"] += 1
            if now - self._reported_at < _REPORT_INTERVAL_S and self._detail["step"] != self._detail["steps"]:
                return
            self._reported_at = now
            self._detail["metrics"] |= finite(trainer.label_loss_items(trainer.tloss, prefix="train"))
            if trainer.device.type == "cuda":
                self._detail["gpu_memory_bytes"] = int(torch.cuda.memory_reserved(trainer.device))
            self._detail["measured"] = self.measuring.totals()
        self.report("training")

    def _model_save(self, trainer: Any) -> None:
        """Copies what was saved (Ultralytics writes in place) and has it stored; the epoch is reported once it is."""
        self._context.check()
        epoch = int(trainer.epoch) + 1
        folder = self._context.scratch / "outbox" / f"{epoch:06d}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copyfile(trainer.last, folder / trainer.last.name)
        shutil.copyfile(trainer.csv, folder / RESULTS)
        if epoch == self._saved_epoch + 1:
            write_arguments(trainer, self._spec, folder / ARGUMENTS)
        written_ns = _written_ns(trainer.best)
        is_best, self._best_written_ns = written_ns != self._best_written_ns, written_ns
        kept = trainer.wdir / f"epoch{trainer.epoch}.pt"
        kept_as = f"{trainer.wdir.name}/{kept.name}" if trainer.save_period > 0 and kept.exists() else ""
        values = finite({**trainer.label_loss_items(trainer.tloss, prefix="train"), **trainer.metrics, **trainer.lr})
        with self._lock:
            self._epoch_metrics[epoch] = values
        events = ""
        if self._events is not None:
            written = self._events.write(epoch, values)
            events = f"{EVENT_FILES}{shutil.copyfile(written, folder / written.name).name}"
        measured = self.measuring.saved(epoch, is_best=is_best)
        self.checkpoints.save(Saved(epoch, bool(trainer.stop), is_best, kept_as, folder, measured, events, self._pace.pointers()))

    def close(self) -> None:
        """Ends what is written beside the checkpoints."""
        self.measuring.close()
        if self._events is not None:
            self._events.close()

    def _stored(self, epoch: int) -> None:
        with self._lock:
            self._detail["epoch"] = epoch
            self._detail["metrics"] |= self._epoch_metrics.pop(epoch, {})
        self.report("training")


def finite(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Metrics as plain numbers; what is no number is left out, since JSON has no NaN."""
    found = {}
    for key, value in metrics.items():
        try:
            number = float(value)
        except (TypeError, ValueError):
            continue
        if math.isfinite(number):
            found[key] = number
    return found


def write_arguments(trainer: Any, spec: Mapping[str, Any], path: Path) -> None:
    """Writes the arguments in force (the batch, say, after Ultralytics halved it), with resource names in place of this machine's paths."""
    arguments = {key: value for key, value in vars(trainer.args).items() if key not in PATH_ARGUMENTS}
    arguments["data"] = spec["dataset_version"]
    arguments["model"] = spec.get("model_version") or spec.get("architecture") or "model.yaml"
    arguments |= {name: spec[key] for key, name in _CHOICES.items() if spec.get(key)}
    plain = {
        key: value if isinstance(value, bool | int | float | str | list | dict | None) else str(value) for key, value in arguments.items()
    }
    path.write_text(yaml.safe_dump(dict(sorted(plain.items())), allow_unicode=True))


def _written_ns(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _trained_seconds(results: Path) -> float:
    """What the last row of an earlier attempt's ``results.csv`` says of the time, so that the column goes on growing."""
    if not results.exists():
        return 0.0
    with results.open(newline="") as file:
        rows = list(csv.DictReader(file))
    text = next((value for key, value in (rows[-1] if rows else {}).items() if key and key.strip() == "time"), "") or ""
    return float(text) if re.fullmatch(r"\s*[0-9.]+(e[+-]?\d+)?\s*", text) else 0.0
