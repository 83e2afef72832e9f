"""Machines, and runs that were measured on them."""

import dataclasses
from datetime import UTC, datetime, timedelta

from visionyard.training.estimates.effort import Effort
from visionyard.training.estimates.machine import Machine
from visionyard.training.estimates.measurement import Measurement, measurement_id

CPU = Machine("CPU", 2, 8 << 30)
GPU = Machine("CPU", 16, 64 << 30, "GPU", 1)
FOUR_GPUS = Machine("CPU", 64, 256 << 30, "GPU", 4)
EFFORT = Effort("detect", "yolov8n.yaml", 3_000_000, 0.0, 320, 16, 1000, 200, mixed_precision=False, dataset_digest="0" * 16)
START = datetime(2026, 1, 1, tzinfo=UTC)


def run(number=0, effort=EFFORT, **changes):
    measured = Measurement(
        measurement_id("projects/p/trainingJobs/j", number), START + timedelta(hours=number), effort, 10,
        start_up_s=12.0, fetch_s=0.0, first_extra_s=3.0, train_s=100.0, val_s=10.0, save_s=1.0, end_s=15.0,
    )  # fmt: skip
    return dataclasses.replace(measured, **changes)
