"""What `yard train` says of settings that Ultralytics takes and does not use."""

from __future__ import annotations

from google.protobuf import json_format, struct_pb2

_AUTO = "auto"
_PASSED_OVER = ("lr0", "warmup_bias_lr")


def without_effect(overrides: struct_pb2.Struct) -> str:
    """A sentence on those that ``optimizer=auto``, Ultralytics' default, chooses by itself, which it says in its log alone; empty where none is set.

    Args:
        overrides: A training's.
    """
    given = json_format.MessageToDict(overrides)
    named = [name for name in _PASSED_OVER if name in given and str(given.get("optimizer", _AUTO)).lower() == _AUTO]
    if not named:
        return ""
    return f"{' and '.join(named)}: without an optimizer (--set optimizer=AdamW) Ultralytics chooses by itself, and passes over what is set"
