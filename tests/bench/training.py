"""Wall time of `yard train` over plain Ultralytics with the same arguments, in turn, in one run."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

from stack import Stack, say, timed

EPOCHS, IMAGE_SIZE, BATCH, ROUNDS = 4, 320, 8, 2


def measure(stack: Stack, folder: Path, dataset: Path, weights: Path) -> None:
    """Trains ``ROUNDS`` times each way on ``dataset`` (a folder as `yard dataset import` takes it) and prints the ratio of the medians."""
    stack.yard("dataset", "import", dataset, "--name", "cones")
    stack.yard("dataset", "download", "cones", "--to", folder / "cones")
    ours: list[float] = []
    plain: list[float] = []
    for turn in range(ROUNDS):
        with timed(plain):
            _plain(folder, weights, turn)
        with timed(ours):
            stack.yard(
                "train", "cones", "--model", weights, "--name", f"cones-{turn}", "--epochs", EPOCHS, "--imgsz", IMAGE_SIZE, "--batch", BATCH
            )
    ratio = statistics.median(ours) / statistics.median(plain)
    times = f"yard {', '.join(f'{s:.1f}' for s in ours)} s; plain {', '.join(f'{s:.1f}' for s in plain)} s"
    say(f"train      {EPOCHS} epochs, imgsz {IMAGE_SIZE}, batch {BATCH}: {times}; ratio {ratio:.3f} (wanted: at most 1.10)")


def _plain(folder: Path, weights: Path, turn: int) -> None:
    # As a person would: `yolo detect train`, in an environment that does not reach for the network.
    environment = {**os.environ, "YOLO_CONFIG_DIR": str(folder / "yolo"), "YOLO_OFFLINE": "1", "YOLO_AUTOINSTALL": "0"}
    arguments = {
        "data": folder / "cones" / "data.yaml",
        "model": weights,
        "epochs": EPOCHS,
        "imgsz": IMAGE_SIZE,
        "batch": BATCH,
        "project": folder / "plain",
        "name": f"run-{turn}",
    }
    command = [Path(sys.executable).parent / "yolo", "detect", "train", *(f"{name}={value}" for name, value in arguments.items())]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"plain Ultralytics failed: {done.stderr[-800:]}")
