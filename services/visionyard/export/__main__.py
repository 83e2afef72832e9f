"""The export service: ``python -m visionyard.export``."""

from __future__ import annotations

import sys

from visionyard.export.app import build_app
from visionyard.export.config import ExportSettings
from visionyard.kit.config import parse_command_line
from visionyard.kit.server.builder import run


def main() -> int:
    """Runs the service until it is told to stop; returns its exit code."""
    return run("export", parse_command_line(ExportSettings, "export"), build_app)


if __name__ == "__main__":
    sys.exit(main())
