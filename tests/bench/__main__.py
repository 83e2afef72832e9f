"""`make bench`: everything in one run, side by side. It measures and prints; it asserts nothing."""

from __future__ import annotations

import os
import platform
import tempfile
from pathlib import Path

import imports
import predictions
import training
from stack import running, say

DATA = Path(os.environ.get("VISIONYARD_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


def main() -> None:
    """Runs all measurements on one stack."""
    say(f"machine    {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="visionyard-bench-files-") as folder, running() as stack:
        imports.measure(stack, Path(folder))
        if not DATA.is_dir():
            say(f"train, predict: no test data at {DATA}; set VISIONYARD_TEST_DATA")
            return
        predictions.measure(stack, DATA / "weights" / "yolov8n.pt", DATA / "photos")
        training.measure(stack, Path(folder), DATA / "yolo_cones_roboflow160", DATA / "weights" / "yolov8n.pt")


if __name__ == "__main__":
    main()
