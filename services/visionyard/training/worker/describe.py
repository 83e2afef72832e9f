"""Prints, as JSON, what the installed Ultralytics says of its arguments and model YAMLs: ``python -m visionyard.training.worker.describe REPORT``.

The service runs it once as a child process, so that it need not import torch itself.
"""

from __future__ import annotations

import importlib.util
import inspect
import json
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from visionyard.kit.ultralytics_env import prepare

_OTHER_MODELS = re.compile(r"sam|nas|world|yoloe|clip|reid|distill|-sem|-depth", re.IGNORECASE)
"""What the names of published files hold that are no models of the tasks that are handled here."""


def describe() -> dict[str, Any]:
    """The document that :meth:`visionyard.training.arguments.ArgumentTable.from_json` reads. Imports ultralytics."""
    import ultralytics  # noqa: PLC0415 - reads the environment that main() sets first
    from ultralytics import cfg  # noqa: PLC0415 - likewise
    from ultralytics.utils import DEFAULT_CFG_DICT, DEFAULT_CFG_PATH, downloads  # noqa: PLC0415 - likewise

    source = inspect.signature(downloads.attempt_download_asset).parameters
    return {
        "version": ultralytics.__version__,
        "defaults": dict(DEFAULT_CFG_DICT),
        "sections": _sections(Path(DEFAULT_CFG_PATH).read_text()),
        "floats": sorted(cfg.CFG_FLOAT_KEYS),
        "fractions": sorted(cfg.CFG_FRACTION_KEYS),
        "ints": sorted(cfg.CFG_INT_KEYS),
        "int_minimum": dict(cfg.CFG_INT_MIN),
        "bools": sorted(cfg.CFG_BOOL_KEYS),
        "strings": sorted(cfg.CFG_STR_KEYS),
        "quantize": sorted(cfg.QUANTIZE_ALIASES),
        "architectures": _architectures(Path(ultralytics.__file__).parent / "cfg" / "models"),
        "weights": _weights(downloads.GITHUB_ASSETS_NAMES),
        "weights_url": f"https://github.com/{source['repo'].default}/releases/download/{source['release'].default}",
        "tensorboard": _installed("tensorboard"),
        "quantization": _installed("modelopt") and _installed("huggingface_hub"),
    }


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _weights(names: Iterable[str]) -> list[str]:
    """The published weight files that hold a model of a task that is handled here."""
    return sorted(name for name in names if name.endswith(".pt") and not _OTHER_MODELS.search(name))


def _sections(text: str) -> dict[str, str]:
    """Which ``# Heading ----`` of ``default.yaml`` each argument stands under."""
    found: dict[str, str] = {}
    heading = ""
    for line in text.splitlines():
        if match := re.match(r"# (.+?) -{5,}\s*$", line):
            heading = match[1]
        elif match := re.match(r"(\w+):", line):
            found[match[1]] = heading
    return found


def _architectures(folder: Path) -> dict[str, str]:
    """Every name that Ultralytics takes for its model YAMLs (``yolov8n.yaml`` for ``yolov8.yaml`` with a scale ``n``), with the last module's name."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*.yaml")):
        model = yaml.safe_load(path.read_text())
        if not isinstance(model, dict) or not model.get("head"):
            continue
        if any(row[2] == "TorchVision" for row in model["backbone"]):
            continue  # it downloads weights when it is built
        last = str(model["head"][-1][2])
        found[path.name] = last
        if match := re.match(r"(yolov?\d+)(-.*)?\.yaml$", path.name):
            rest = match[2] or ""
            found |= {f"{match[1]}{scale}{rest}.yaml": last for scale in model.get("scales") or {}}
    return found


def main() -> int:
    """Writes the document to the file named as the first argument."""
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder).resolve())
        Path(sys.argv[1]).write_text(json.dumps(describe()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
