"""`make bench`: everything in one run, side by side. It measures and prints; it asserts nothing. `python tests/bench imports` measures just these."""

from __future__ import annotations

import os
import platform
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))  # as pytest does for the tests

import imports
import predictions
import queue_of_jobs
import training
from stack import running, say

DATA = Path(os.environ.get("VISIONYARD_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")


PARTS = ("imports", "queue", "predictions", "training")


def main() -> None:
    """Runs the measurements that the command line names, or all, on one stack."""
    parts = sys.argv[1:] or PARTS
    if not set(parts) <= set(PARTS):
        raise SystemExit(f"there are {', '.join(PARTS)}")
    say(f"machine    {platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory(prefix="visionyard-bench-files-") as folder, running() as stack:
        if "imports" in parts:
            imports.measure(stack, Path(folder))
        if "queue" in parts:
            queue_of_jobs.measure(stack, Path(folder))
        if not DATA.is_dir():
            say(f"train, predict: no test data at {DATA}; set VISIONYARD_TEST_DATA")
            return
        if "predictions" in parts:
            predictions.measure(stack, DATA / "weights" / "yolov8n.pt", DATA / "photos")
        if "training" in parts:
            training.measure(stack, Path(folder), DATA / "yolo_cones_roboflow160", DATA / "weights" / "yolov8n.pt")


if __name__ == "__main__":
    main()
