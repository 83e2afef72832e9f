"""Runs the inference service: `python -m visionyard.inference`; `--help` lists its variables."""

from __future__ import annotations

import sys

from visionyard.inference.app import build_app
from visionyard.inference.config import InferenceSettings
from visionyard.kit.config import parse_command_line
from visionyard.kit.server.builder import run


def main() -> int:
    """Reads the configuration and serves until SIGTERM; returns the exit code."""
    return run("inference", parse_command_line(InferenceSettings, "inference"), build_app)


if __name__ == "__main__":
    sys.exit(main())
