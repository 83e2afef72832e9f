"""``python -m visionyard.training.worker.evaluation``: one attempt of an evaluation job; started by the service."""

from __future__ import annotations

import sys

from visionyard.kit.jobs.model import JobKind
from visionyard.kit.jobs.worker import run
from visionyard.training.config import TrainingSettings
from visionyard.training.worker.evaluation.handler import handle

if __name__ == "__main__":
    sys.exit(run(JobKind.EVALUATION, handle, TrainingSettings))
