"""``python -m visionyard.training.worker``: one attempt of a training job; started by the service."""

from __future__ import annotations

import sys

from visionyard.kit.jobs.model import JobKind
from visionyard.kit.jobs.worker import run
from visionyard.training.config import TrainingSettings
from visionyard.training.notifications.outbox import Outbox
from visionyard.training.worker.handler import handle

if __name__ == "__main__":
    sys.exit(run(JobKind.TRAINING, handle, TrainingSettings, events=Outbox))
