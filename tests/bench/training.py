"""Wall time of `yard train` over plain Ultralytics with the same arguments, in turn, in one run; and what was expected of it before the third run."""

from __future__ import annotations

import csv
import os
import statistics
import subprocess
import sys
from pathlib import Path

from stack import Stack, say, timed

EPOCHS, IMAGE_SIZE, BATCH, ROUNDS = 4, 320, 8, 3


def measure(stack: Stack, folder: Path, dataset: Path, weights: Path) -> None:
    """Trains ``ROUNDS`` times each way on ``dataset`` (a folder as `yard dataset import` takes it), and prints the ratio of the medians: of the whole, and of the epochs alone."""
    stack.yard("dataset", "import", dataset, "--name", "cones")
    stack.yard("dataset", "download", "cones", "--to", folder / "cones")
    words = "cones", "--model", weights, "--epochs", EPOCHS, "--imgsz", IMAGE_SIZE, "--batch", BATCH
    ours: list[float] = []
    plain: list[float] = []
    our_epochs: list[float] = []
    plain_epochs: list[float] = []
    for turn in range(ROUNDS):
        with timed(plain):
            _plain(folder, weights, turn)
        plain_epochs.append(_epochs_s(folder / "plain" / f"run-{turn}"))
        expected = float(str(stack.yard("estimate", *words)["expected_duration"]).rstrip("s"))
        with timed(ours):
            job = stack.yard("train", *words, "--name", f"cones-{turn}")["training_job"]["name"]
        stack.yard("job", "download", job, "--to", folder / f"ours-{turn}")
        our_epochs.append(_epochs_s(folder / f"ours-{turn}"))
    say(
        f"train      {EPOCHS} epochs, imgsz {IMAGE_SIZE}, batch {BATCH}: yard {_list(ours)} s; plain {_list(plain)} s; ratio {_ratio(ours, plain):.3f}"
    )
    say(
        f"train      the epochs alone: yard {_list(our_epochs)} s; plain {_list(plain_epochs)} s; ratio {_ratio(our_epochs, plain_epochs):.3f} (wanted: at most 1.03)"
    )
    ours_rest, plain_rest = (
        statistics.median(whole - epochs for whole, epochs in zip(*pair, strict=True))
        for pair in ((ours, our_epochs), (plain, plain_epochs))
    )
    say(f"train      start, last validation and the rest: yard {ours_rest:.1f} s, plain {plain_rest:.1f} s (wanted: under 5 s above it)")
    say(f"estimate   before run {ROUNDS}: {expected:.1f} s, taken {ours[-1]:.1f} s; ratio {expected / ours[-1]:.2f} (wanted: 0.70 to 1.30)")


def _list(seconds: list[float]) -> str:
    return ", ".join(f"{s:.1f}" for s in seconds)


def _ratio(ours: list[float], plain: list[float]) -> float:
    return statistics.median(ours) / statistics.median(plain)


def _epochs_s(run: Path) -> float:
    """How long all epochs took with their validations, by Ultralytics' own clock: the last ``time`` of results.csv."""
    with (run / "results.csv").open(newline="") as file:
        return float(list(csv.DictReader(file, skipinitialspace=True))[-1]["time"])


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
