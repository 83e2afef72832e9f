"""What users are told of an exception that came out of a training."""

import pytest

from visionyard.kit.errors import Reason
from visionyard.training.worker.handler import failure


@pytest.mark.parametrize(
    ("error", "reason", "said"),
    [
        (RuntimeError("CUDA out of memory. Tried to allocate"), Reason.OUT_OF_MEMORY, "--batch"),
        (MemoryError(), Reason.OUT_OF_MEMORY, "--imgsz"),
        (
            RuntimeError(
                "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that dataloader's workers are out of shared memory."
            ),
            Reason.OUT_OF_MEMORY,
            "--set workers=2",
        ),
        (ValueError("wrong /home/somebody/x/y"), Reason.TRAINING_FAILED, "ValueError: wrong ..."),
    ],
)
def test_memory_that_ran_out_comes_with_what_to_change(error, reason, said):
    told = failure(error, "0abc")
    assert told.reason is reason
    assert said in told.message
