"""Makes an Ultralytics checkpoint of a torchvision network's state dict, in a process of its own, with limits.

Run as ``python -m visionyard.training.worker.conversion FILE NAME NETWORK TARGET REPORT``.

The walls are those of ``inspection``; what torch's unpickler may make of a state dict is tensors and their dictionary only.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visionyard.training.backbones import model_document, yaml_name
from visionyard.training.weight_file import check_state_dict_file, unreadable
from visionyard.training.worker.inspection import inspect_weights, refused, report_within_limits

_IMAGE_SIDE_PX = 224
"""At which torchvision trains, and Ultralytics for ``classify``."""
_CLASS_NAMES = {0: "untrained"}
"""The head's only class, until a training gives it others."""
_COUNTER = ".num_batches_tracked"
"""Batch norm's count of batches: a whole number, and not in files from before PyTorch 0.4.1."""
_MOST_NAMED = 3
_MAX_CLASSES = 100_000


def convert_state_dict(path: Path, name: str, network: str, target: Path) -> dict[str, Any]:
    """Writes a checkpoint with the state dict's tensors up to the pooling, and a new head. Imports torch.

    Args:
        path: The state dict's file.
        name: What to call it in messages.
        network: The network that it is of, one of the list.
        target: The checkpoint to write; the same for the same bytes.

    Returns:
        What the checkpoint is, as :func:`.inspection.inspect_weights` says.

    Raises:
        YardError: WEIGHTS_UNREADABLE or WEIGHTS_UNSAFE.
    """
    check_state_dict_file(path, name)
    import torch  # noqa: PLC0415 - only for a file that the opcodes speak well of
    import ultralytics  # noqa: PLC0415 - likewise, and after the environment is set
    from ultralytics.nn.tasks import ClassificationModel  # noqa: PLC0415 - likewise

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - a stranger's file can fail in any way
        raise refused(error, name) from None
    tensors = _checked(found, name, network)
    torch.manual_seed(0)  # the head's first weights
    model = ClassificationModel(model_document(network), verbose=False)
    trunk = model.model[0].m.state_dict()
    # Its layers are the network's own in their order, under other names.
    model.model[0].m.load_state_dict(dict(zip(trunk, list(tensors.values())[: len(trunk)], strict=True)))
    model.names, model.task = _CLASS_NAMES, "classify"
    model.yaml["yaml_file"] = yaml_name(network)
    arguments = {"task": "classify", "imgsz": _IMAGE_SIDE_PX}
    checkpoint = {"epoch": -1, "model": model, "ema": None, "optimizer": None, "train_args": arguments, "version": ultralytics.__version__}
    torch.save(checkpoint, target)
    return inspect_weights(target, name)


def _checked(found: Any, name: str, network: str) -> dict[str, Any]:
    """The network's tensors in its own order, each of its own shape.

    Raises:
        YardError: WEIGHTS_UNREADABLE, saying which are missing, not the network's, or of another shape.
    """
    import torch  # noqa: PLC0415 - see convert_state_dict

    if not isinstance(found, Mapping) or not all(isinstance(key, str) and isinstance(value, torch.Tensor) for key, value in found.items()):
        raise unreadable(
            name, "holds more than a state dict, a dictionary of tensors: save that alone, as torch.save(model.state_dict(), FILE) does"
        )
    wanted = _tensors_of(network, found)
    missing = [key for key in wanted if key not in found and not key.endswith(_COUNTER)]
    unexpected = [key for key in found if key not in wanted]
    if missing or unexpected:
        parts = [f"{what} {_named(keys)}" for what, keys in (("it lacks", missing), ("it has besides", unexpected)) if keys]
        raise unreadable(name, f"is no state dict of {network}: {'; '.join(parts)}")
    for key, like in wanted.items():
        if key in found:
            _check_tensor(key, found[key], like, name, network)
    return {key: found[key] if key in found else torch.zeros((), dtype=torch.long) for key in wanted}


def _tensors_of(network: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """The network's own state dict, without memory behind it; for as many classes as the file's last layer has."""
    import torch  # noqa: PLC0415 - see convert_state_dict
    from torchvision.models import get_model  # noqa: PLC0415 - likewise

    with torch.device("meta"):
        own: dict[str, Any] = get_model(network, weights=None).state_dict()
        bias = found.get(list(own)[-1])
        if bias is not None and bias.ndim == 1 and 0 < len(bias) <= _MAX_CLASSES:
            own = get_model(network, weights=None, num_classes=len(bias)).state_dict()
    return own


def _check_tensor(key: str, tensor: Any, like: Any, name: str, network: str) -> None:
    import torch  # noqa: PLC0415 - see convert_state_dict

    if tensor.shape != like.shape:
        raise unreadable(name, f"is no state dict of {network}: {key} is {_size(tensor)} in it and {_size(like)} in the network")
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_floating_point() != like.is_floating_point():
        raise unreadable(name, f"is no state dict of {network}: {key} holds other than plain numbers ({tensor.dtype})")
    # As they will be used: a double may be finite and too large for a float.
    if not bool(torch.isfinite(tensor.float()).all()):
        raise unreadable(name, f"holds numbers in {key} that are infinite or none (NaN), so nothing can be trained from it")


def _size(tensor: Any) -> str:
    return " x ".join(map(str, tensor.shape)) or "a single number"


def _named(keys: list[str]) -> str:
    shown = ", ".join(key[:100] for key in keys[:_MOST_NAMED])
    return shown if len(keys) <= _MOST_NAMED else f"{shown} and {len(keys) - _MOST_NAMED} more"


def main() -> int:
    """Converts the file that the arguments name; see :func:`.inspection.report_within_limits`."""
    path, name, network, target, report = Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]), Path(sys.argv[5])
    report_within_limits(report, name, lambda: convert_state_dict(path, name, network, target))
    return 0


if __name__ == "__main__":
    sys.exit(main())
