"""A training job from its claim to its model version; what an earlier attempt had reached is not done again."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from visionyard.kit.artifacts.dataset import read_dataset_version
from visionyard.kit.artifacts.materialise import materialise
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.context import JobContext
from visionyard.kit.jobs.lease import Crashed, JobCancelled, LeaseLost, Preempted
from visionyard.kit.jobs.worker import disk_full
from visionyard.kit.names import VersionName
from visionyard.kit.objectstore.port import StoreUnavailable
from visionyard.training.config import TrainingSettings
from visionyard.training.reports.phases import Stopwatch
from visionyard.training.spec import TrainingSpec
from visionyard.training.worker.group import is_trained, train_together, trains_together
from visionyard.training.worker.offline import prepare_training
from visionyard.training.worker.pace import Pace

_log = logging.getLogger(__name__)
PASSED_ON = (Crashed, JobCancelled, Preempted, LeaseLost, StoreUnavailable, YardError, OSError)
"""What says itself why a job stops."""
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED", "bad alloc")
_NO_ROOM = ("inline_container", "iostream error", "pytorchstreamwriter failed", "no space left")
"""What torch.save and others say of a disk that may be full, in exceptions of other kinds than OSError."""
_LITTLE_BYTES = 64 << 20
_OUT_OF_SHARED_MEMORY = ("bus error", "shared memory", "/dev/shm")  # noqa: S108 - words of messages, no path that is used
_PATH = re.compile(r"(?:/[\w.@+~-]+){2,}/?")
_LONGEST_REASON = 300


def handle(context: JobContext) -> dict[str, Any]:
    """Does the job; returns the pointer ``model_version``.

    Raises:
        YardError: what went wrong, for people: OUT_OF_MEMORY, DISK_FULL, TRAINING_FAILED, ARTIFACT_CORRUPT, ...
        JobCancelled, Preempted, LeaseLost: the job must stop.
    """
    spec = TrainingSpec.from_json(context.job.spec)
    pace = Pace(context, spec)
    context.report("preparing")
    prepare_training(context.scratch)
    model = context.job.pointers.get("trained")
    if model is None:
        model = _train(context, spec, pace)
    from visionyard.training.worker import results  # noqa: PLC0415 - imports torch, after the lease beats and the environment is set

    version = results.publish(context, spec, model)
    pace.measured(ended=True)
    return {"model_version": version, "spent": pace.pointers()["spent"]}


@contextmanager
def prepared(context: JobContext, spec: TrainingSpec, pace: Pace, *, speaks: bool = True) -> Iterator[tuple[str, Path, Stopwatch]]:
    """Gives the dataset's task, what Ultralytics takes as ``data``, which stays there until the block ends, and a watch that has run since.

    Args:
        context: The job.
        spec: What to train.
        pace: Times it.
        speaks: Whether it reports how far it is.
    """
    settings, watch = cast("TrainingSettings", context.settings), Stopwatch()
    version = read_dataset_version(context.store, VersionName.parse(spec.dataset_version, "datasets"))

    def fetched(done: int, total: int) -> None:
        context.check()
        context.make_room()
        if speaks:
            context.report("fetching images", done, total, "images")

    watch.enter("fetch")
    began = time.monotonic()
    with materialise(context.store, version, settings.work_dir / "datasets", settings.dataset_cache_bytes, fetched) as folder:
        pace.clock.fetched(time.monotonic() - began)
        if speaks:
            context.report("starting")
        watch.enter("start")
        yield version.task, folder if version.task == "classify" else folder / "data.yaml", watch


def _train(context: JobContext, spec: TrainingSpec, pace: Pace) -> dict[str, Any]:
    if trains_together(spec) and not is_trained(context):
        train_together(context, spec)
    with prepared(context, spec, pace) as (task, data, watch):
        try:
            # Only now, with the lease beating: torch takes seconds to import.
            from visionyard.training.worker import results, trainer  # noqa: PLC0415 - see the line above
            from visionyard.training.worker.choices import pretrained_argument  # noqa: PLC0415 - likewise

            model = results.initial_model(context, spec, context.scratch)
            begin_with = pretrained_argument(results.pretrained_weights(context, spec, context.scratch))
            run = trainer.train(context, {**spec.arguments(), **begin_with}, model, task, data, watch, pace)
            trainer.log_outcome(run)
            return results.store_run(context, run, spec)
        except Preempted:
            context.point(**pace.pointers())
            pace.measured(ended=False)
            raise
        except (Crashed, LeaseLost, StoreUnavailable):
            raise
        except PASSED_ON:
            _put_down(context, pace)
            raise
        except Exception as error:  # the last line of defence: the job failed in training
            _put_down(context, pace)
            raise failure(error, context.job.name.id) from error


def _put_down(context: JobContext, pace: Pace) -> None:
    """Puts down what was spent, also on what has come to nothing: a budget has to know."""
    try:
        context.point(**pace.pointers())
    except Exception:  # noqa: BLE001 - why it stops matters more
        _log.exception("what the training has spent could not be put down")


def failure(error: Exception, job_id: str, what: str = "training") -> YardError:
    """What to tell the user of an exception that came out of the training, or of ``what``."""
    text = str(error)
    if any(sign in text.lower() for sign in _OUT_OF_SHARED_MEMORY):
        return YardError(
            Reason.OUT_OF_MEMORY,
            f"{what} ran out of shared memory (/dev/shm), through which data loaders hand batches over: use fewer of them (--set workers=2) or a smaller batch "
            "(--batch), or give the training container more (shm_size), then start it again",
        )
    if any(sign in text.lower() for sign in _NO_ROOM) and shutil.disk_usage(Path.cwd()).free < _LITTLE_BYTES:
        return disk_full("")
    if isinstance(error, MemoryError) or any(sign.lower() in text.lower() for sign in _OUT_OF_MEMORY):
        return YardError(
            Reason.OUT_OF_MEMORY,
            f"{what} ran out of memory: use a smaller batch (--batch), a smaller image size (--imgsz) or a smaller model, then start it again",
        )
    _log.error("%s failed", what, exc_info=error)
    first = next((line.strip() for line in text.splitlines() if line.strip()), "")
    told = _PATH.sub("...", first.encode("ascii", "ignore").decode())[:_LONGEST_REASON]
    return YardError(
        Reason.TRAINING_FAILED,
        f"{what} failed with {type(error).__name__}{': ' + told if told else ''}; the log has the details: yard job logs {job_id}",
        {"exception": type(error).__name__},
    )
