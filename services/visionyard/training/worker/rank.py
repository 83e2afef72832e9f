"""One of the processes that train together: ``python -m visionyard.training.worker.rank JOB ATTEMPT``, started by torchrun only.

Rank 0 stores and reports the epochs. SIGTERM asks it to stop; the others it ends. All of them end at once when their stdin does (see :mod:`.ranks`).
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path

from visionyard.kit.config import load_settings
from visionyard.kit.errors import YardError
from visionyard.kit.jobs.context import JobContext
from visionyard.kit.jobs.lease import Follower, JobCancelled, LeaseLost, Preempted, on_sigterm
from visionyard.kit.jobs.member import joined
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.jobs.worker import SCRATCH_VARIABLE, reason_of
from visionyard.kit.logging import configure_logging
from visionyard.kit.objectstore.port import StoreFull, StoreUnavailable
from visionyard.training.config import TrainingSettings
from visionyard.training.notifications.outbox import Outbox
from visionyard.training.spec import TrainingSpec
from visionyard.training.worker.handler import failure, prepared
from visionyard.training.worker.pace import Pace
from visionyard.training.worker.ranks import tell

_log = logging.getLogger(__name__)
_LOST_PEER = (
    "connection closed by peer",
    "connection reset by peer",
    "broken pipe",
    "socket closed",
    "remote process exited",
    "nccl error",
)
"""What torch says of a rank that is gone, by gloo and by NCCL."""


def _follow_leash() -> None:
    """Ends this process, and the data loaders that it has started, when whoever holds the leash is gone."""

    def wait() -> None:
        while os.read(0, 4096):
            pass
        if os.getpgid(0) == os.getpid():
            os.killpg(os.getpid(), signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=wait, name="leash", daemon=True).start()


def lost_a_peer(error: BaseException) -> bool:
    """Whether an exception only says that another rank is gone, so that it tells nothing of why."""
    text = str(error).lower()
    return any(sign in text for sign in _LOST_PEER)


def _train(context: JobContext, rank: int) -> YardError | None:
    """Trains; what is to be told where that fails."""
    try:
        spec = TrainingSpec.from_json(context.job.spec)
        pace = Pace(context, spec)
        with prepared(context, spec, pace, speaks=rank == 0) as (task, data, watch):
            from visionyard.training.worker import rank_training  # noqa: PLC0415 - imports torch, for seconds, after all the rest

            try:
                rank_training.train_epochs(context, spec, task, data, watch, pace)
            except (JobCancelled, Preempted, LeaseLost, StoreUnavailable, YardError, OSError):
                raise
            except Exception as error:  # the last line of defence: the job failed in training
                if lost_a_peer(error):
                    raise
                raise failure(error, context.job.name.id) from error
    except (JobCancelled, Preempted, LeaseLost):
        raise
    except Exception as error:
        if lost_a_peer(error) or (isinstance(error, StoreUnavailable) and not isinstance(error, StoreFull)):
            raise
        return reason_of(error, context.job)
    return None


def main() -> int:
    """Trains as one of several; the exit code."""
    _follow_leash()
    job_name, attempt = sys.argv[1], int(sys.argv[2])
    settings = load_settings(TrainingSettings)
    rank, scratch = int(os.environ["RANK"]), Path(os.environ[SCRATCH_VARIABLE])
    configure_logging(f"training-rank-{rank}", settings.log_level, settings.secrets())
    follower = Follower()
    if rank == 0:
        on_sigterm(follower)
    try:
        with joined(JobKind.TRAINING, job_name, attempt, scratch, settings, follower, Outbox, watches=rank == 0) as context:
            error = _train(context, rank)
    except (JobCancelled, Preempted, LeaseLost) as stopped:
        _log.info("rank %d stops: %s", rank, type(stopped).__name__)
        return 1
    except Exception:  # noqa: BLE001 - whatever it is, the others must not wait for this rank
        _log.exception("rank %d ends", rank)
        return 1
    if error is None:
        return 0
    _log.error("rank %d failed: %s: %s", rank, error.reason.name, error.message)
    tell(scratch, rank, error)
    return 1


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a broken process group would have the interpreter wait at its exit
