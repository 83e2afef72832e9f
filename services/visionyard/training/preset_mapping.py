"""Presets on the wire."""

from __future__ import annotations

from google.protobuf import struct_pb2

from visionyard.kit.jobs.mapping import timestamp
from visionyard.kit.names import ResourceName
from visionyard.training.machine_mapping import duration
from visionyard.training.mapping import overrides_from_proto, time_limit_from_proto
from visionyard.training.presets import COLLECTION, Preset
from visionyard.training.v1 import preset_pb2


def preset_from_proto(preset: preset_pb2.Preset) -> Preset:
    """What a request asks to be saved; the use case checks it.

    Raises:
        YardError: INVALID_NAME, INVALID_ARGUMENT_VALUE, INVALID_FIELD.
    """
    return Preset(
        name=ResourceName.parse(preset.name, COLLECTION),
        epochs=preset.epochs,
        batch_size=preset.batch_size,
        image_size_px=preset.image_size_px,
        overrides=overrides_from_proto(preset.overrides),
        best_metric=preset.best_metric,
        tensorboard=preset.tensorboard,
        gpus=preset.gpus,
        time_limit_s=time_limit_from_proto(preset, "preset.time_limit"),
        etag=preset.etag,
    )


def preset_to_proto(preset: Preset) -> preset_pb2.Preset:
    """A preset on the wire."""
    overrides = struct_pb2.Struct()
    overrides.update(dict(preset.overrides))
    return preset_pb2.Preset(
        name=str(preset.name),
        epochs=preset.epochs,
        batch_size=preset.batch_size,
        image_size_px=preset.image_size_px,
        overrides=overrides,
        best_metric=preset.best_metric,
        tensorboard=preset.tensorboard,
        gpus=preset.gpus,
        time_limit=duration(preset.time_limit_s) if preset.time_limit_s else None,
        update_time=timestamp(preset.update_time),
        etag=preset.etag,
    )
