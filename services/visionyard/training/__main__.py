"""``python -m visionyard.training``: the training service."""

from __future__ import annotations

import sys

from visionyard.kit.config import parse_command_line
from visionyard.kit.server.builder import run
from visionyard.training.app import build_app
from visionyard.training.config import TrainingSettings

if __name__ == "__main__":
    sys.exit(run("training", parse_command_line(TrainingSettings, "training"), build_app))
