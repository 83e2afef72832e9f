"""What a weight file says of its architecture, read without running anything of it."""

from __future__ import annotations

import pickletools
import re
import zipfile
from pathlib import Path

_LARGEST_PICKLE_BYTES = 8 << 20
_KEY = "yaml_file"
"""Where Ultralytics keeps the name of a model's YAML (``model.yaml["yaml_file"]``, nn/tasks.py)."""
_STOCK = re.compile(r"(?:yolo[a-z]?\d+|rtdetr-)[a-z0-9-]*\.yaml")
_OF_A_USER = re.compile(r"yolo1[nslmx]?\.yaml")


def architecture_of(path: Path) -> str:
    """The name of the YAML that a checkpoint's model was built from, where that is one that Ultralytics brings; else empty.

    The opcodes of its pickle are looked through for that text; nothing is unpickled. A wrong answer does no harm but to an estimate.

    Args:
        path: A checkpoint in PyTorch's zip format.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entry = next((info for info in archive.infolist() if info.filename.endswith("data.pkl")), None)
            if entry is None or entry.file_size > _LARGEST_PICKLE_BYTES:
                return ""
            with archive.open(entry) as stream:
                return _named(stream.read(_LARGEST_PICKLE_BYTES))
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
        return ""


def _named(data: bytes) -> str:
    follows = False
    for opcode, argument, _ in pickletools.genops(data):
        if not isinstance(argument, str) or "UNICODE" not in opcode.name:
            continue
        if follows:
            name = re.split(r"[/\\]", argument)[-1]
            return name if _STOCK.fullmatch(name) and not _OF_A_USER.fullmatch(name) else ""
        follows = argument == _KEY
    return ""
