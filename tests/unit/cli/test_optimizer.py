"""What `yard train` says of settings that Ultralytics takes and does not use."""

import pytest
from google.protobuf import struct_pb2

from visionyard.cli.optimizer import without_effect


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        ({"lr0": 0.02, "plots": False}, "lr0:"),
        ({"warmup_bias_lr": 0.0, "lr0": 0.02, "optimizer": "auto"}, "lr0 and warmup_bias_lr:"),
        ({"lr0": 0.02, "optimizer": "AdamW"}, ""),
        ({"momentum": 0.8}, ""),
        ({}, ""),
    ],
)
def test_what_the_automatic_optimizer_passes_over_is_told(overrides, told):
    message = struct_pb2.Struct()
    message.update(overrides)
    assert without_effect(message).startswith(told)
    assert bool(without_effect(message)) == bool(told)
