"""The dataset service: ``python -m visionyard.dataset``."""

from __future__ import annotations

import sys

from visionyard.dataset.app import build_app
from visionyard.dataset.config import DatasetSettings
from visionyard.kit.config import parse_command_line
from visionyard.kit.server.builder import run


def main() -> int:
    """Runs the service until it is told to stop; returns its exit code."""
    return run("dataset", parse_command_line(DatasetSettings, "dataset"), build_app)


if __name__ == "__main__":
    sys.exit(main())
