"""Opens a stranger's weight file in a process of its own, with limits: ``python -m visionyard.training.worker.inspection FILE NAME REPORT``.

Three walls, one behind the other: the pickle's opcodes are read before torch is even imported (``weight_file``), torch's ``weights_only`` unpickler
takes nothing outside Ultralytics' allow-list (``ULTRALYTICS_SAFE_LOAD``), and the process has little memory and time.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from visionyard.kit.errors import Reason, YardError, encodable
from visionyard.kit.torchvision_classes import torchvision_classes
from visionyard.kit.ultralytics_env import prepare
from visionyard.training.model_modules import HEADS
from visionyard.training.model_yaml import check_model_document
from visionyard.training.weight_file import check_weight_file, unreadable, unsafe

_TASK_OF_MODEL = {
    "DetectionModel": "detect",
    "SegmentationModel": "segment",
    "ClassificationModel": "classify",
    "PoseModel": "pose",
    "OBBModel": "obb",
    "RTDETRDetectionModel": "detect",
}
_ADDRESS_SPACE_BYTES = 24 << 30  # torch with CUDA maps about 10 GiB before it does anything
_DATA_BYTES = 6 << 30
_CPU_S = 120
_TRIAL_SIDE_PX = 256
_MAX_CLASSES = 100_000
_MAX_NAME = 500


def inspect_weights(path: Path, name: str) -> dict[str, Any]:
    """What the weights are: ``task``, ``class_names``, ``parameter_count``, ``image_size_px``, ``stride``, ``architecture``. Imports torch.

    Args:
        path: The weight file.
        name: What to call it in messages.

    Raises:
        YardError: WEIGHTS_UNREADABLE, WEIGHTS_UNSAFE or UNSUPPORTED_TASK.
    """
    check_weight_file(path, name)
    import torch  # noqa: PLC0415 - only for a file that the opcodes speak well of
    from ultralytics.nn.tasks import BaseModel, load_checkpoint  # noqa: PLC0415 - likewise, and after the environment is set

    torch.serialization.add_safe_globals(torchvision_classes())

    try:
        model, checkpoint = load_checkpoint(path)
    except Exception as error:  # noqa: BLE001 - a stranger's file can fail in any way
        raise refused(error, name) from None
    if not isinstance(model, BaseModel):
        raise unreadable(name, f"holds a {type(model).__name__}, not an Ultralytics model")
    task = _TASK_OF_MODEL.get(type(model).__name__)
    head = type(model.model[-1]).__name__ if isinstance(getattr(model, "model", None), torch.nn.Sequential) else "unknown"
    if task is None:
        raise YardError(
            Reason.UNSUPPORTED_TASK,
            f"{name} holds a {type(model).__name__} ({head}), which is of none of the tasks that are handled: {', '.join(HEADS)}",
            {"task": type(model).__name__},
        )
    document = getattr(model, "yaml", None)
    if not isinstance(document, dict):
        raise unreadable(name, "does not say how its model is built")
    try:
        check_model_document(document, from_weights=True)
    except YardError as error:
        raise unsafe(name, f"a model whose {error.metadata.get('field', 'architecture')} is not allowed") from None
    side = checkpoint.get("train_args", {}).get("imgsz") if isinstance(checkpoint.get("train_args"), dict) else None
    found = {
        "task": task,
        "class_names": _class_names(model.names, name),
        "parameter_count": sum(parameter.numel() for parameter in model.parameters()),
        "image_size_px": _image_size(side),
        "stride": int(max(model.stride)) if hasattr(model, "stride") else 32,
        "architecture": encodable(Path(str(document.get("yaml_file", ""))).name[:200]),
    }
    try:
        with torch.inference_mode():
            model.float().eval()(torch.zeros(1, int(document.get("channels") or document.get("ch") or 3), _TRIAL_SIDE_PX, _TRIAL_SIDE_PX))
    except Exception as error:  # noqa: BLE001 - whatever the weights are, they do not work
        raise unreadable(name, f"holds a model that cannot be run ({type(error).__name__})") from None
    return found


def refused(error: Exception, name: str) -> YardError:
    """What to tell the user of an exception that came out of opening a weight file."""
    text = str(error)
    if "outside the supported" in text or "blocked during restricted" in text or "Unsupported global" in text:
        return unsafe(name, "something outside Ultralytics' list of known classes")
    if isinstance(error, MemoryError) or "can't allocate memory" in text:
        return unreadable(name, "needs more memory to be opened than a weight file may")
    return unreadable(name, f"cannot be opened by this version of Ultralytics ({type(error).__name__})")


def _class_names(names: Any, name: str) -> list[str]:
    if isinstance(names, dict) and set(names) == set(range(len(names))):
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list | tuple) or not 1 <= len(names) <= _MAX_CLASSES:
        raise unreadable(name, "does not name its classes from 0 on")
    return [encodable(str(value)[:_MAX_NAME]) for value in names]


def _image_size(side: Any) -> int:
    if isinstance(side, list | tuple) and side:
        side = max(side)
    return side if isinstance(side, int) and 0 < side <= 1 << 16 else 640


def _limit() -> None:
    """No more memory and time than opening weights takes, and no core file."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S + 5))
    resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE_BYTES, _ADDRESS_SPACE_BYTES))
    resource.setrlimit(resource.RLIMIT_DATA, (_DATA_BYTES, _DATA_BYTES))


def main() -> int:
    """Opens the file that the arguments name; see :func:`report_within_limits`."""
    path, name, report = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    report_within_limits(report, name, lambda: inspect_weights(path, name))
    return 0


def report_within_limits(report: Path, name: str, find: Callable[[], dict[str, Any]]) -> None:
    """Limits this process, prepares it for Ultralytics, and writes ``{"found": ...}`` or ``{"error": ...}`` to the report.

    It may die of the limits instead.

    Args:
        report: The file to write.
        name: What to call the weight file in messages.
        find: Opens it.
    """
    _limit()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder).resolve(), {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"})
        try:
            document: dict[str, Any] = {"found": find()}
        except YardError as error:
            document = {"error": error.to_json()}
        except MemoryError:
            document = {"error": unreadable(name, "needs more memory to be opened than a weight file may").to_json()}
    report.write_text(json.dumps(document))


if __name__ == "__main__":
    sys.exit(main())
