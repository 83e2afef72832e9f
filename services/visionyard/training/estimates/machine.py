"""What a machine is, as far as it decides how long a training takes there.

Its id is made of its parts, not of its name: a container has another name every day, and two rented machines of one kind are as fast as each other. So it tells nothing of who
runs it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionyard.kit.cpus import usable_cpus
from visionyard.kit.errors import invalid_field
from visionyard.training.estimates.reading import of_document
from visionyard.training.gpus import gpu_models

_CPU_INFO = Path("/proc/cpuinfo")
_CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")
_GIB = 1 << 30
_LONGEST = 100
_ID_DIGITS = 12
_MOST_CORES, _MOST_GPUS, _MOST_MEMORY = 4096, 64, 1 << 50


@dataclass(frozen=True)
class Machine:
    """A machine's parts.

    Attributes:
        cpu_model: The processor as it names itself.
        cpu_cores: How many cores trainings may use.
        memory_bytes: Its memory, a multiple of 1 GiB.
        gpu_model: Its GPUs that trainings use, as they name themselves; empty without one.
        gpu_count: How many of those it has.
    """

    cpu_model: str
    cpu_cores: int
    memory_bytes: int
    gpu_model: str = ""
    gpu_count: int = 0

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits, the same for machines of the same parts."""
        return hashlib.sha256(json.dumps(vars(self), sort_keys=True).encode()).hexdigest()[:_ID_DIGITS]

    @property
    def display_name(self) -> str:
        """For people: what makes it fast comes first."""
        gpus = f"{self.gpu_count} x {self.gpu_model}" if self.gpu_count > 1 else self.gpu_model
        return f"{gpus or self.cpu_model}, {self.cpu_cores} {'core' if self.cpu_cores == 1 else 'cores'}, {self.memory_bytes // _GIB} GiB"

    def check(self, field: str) -> Machine:
        """Returns itself, for one that a stranger describes.

        Args:
            field: What to call it in errors.

        Raises:
            YardError: INVALID_FIELD.
        """
        for name in ("cpu_model", "gpu_model"):
            text = getattr(self, name)
            if len(text) > _LONGEST or not text.isprintable():
                raise invalid_field(f"{field}.{name}", f"takes at most {_LONGEST} characters that can be printed")
        limits = {"cpu_cores": (1, _MOST_CORES), "memory_bytes": (0, _MOST_MEMORY), "gpu_count": (0, _MOST_GPUS)}
        for name, (least, most) in limits.items():
            if not least <= getattr(self, name) <= most:
                raise invalid_field(f"{field}.{name}", f"takes {least} to {most}, not {getattr(self, name)}")
        if bool(self.gpu_model) != bool(self.gpu_count):
            raise invalid_field(f"{field}.gpu_count", "goes with the GPUs' name, and is 0 without one")
        return self

    def to_json(self) -> dict[str, Any]:
        """The form in which documents keep it."""
        return dict(vars(self))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Machine:
        """Reads what :meth:`to_json` wrote."""
        return of_document(cls, document)


def this_machine(*, uses_gpus: bool) -> Machine:
    """The machine that this process runs on.

    Args:
        uses_gpus: Whether trainings here use its GPUs; else they are no part of it.
    """
    models = Counter(map(_plain, gpu_models())) if uses_gpus else Counter[str]()
    gpu_model = " + ".join(sorted(models))[:_LONGEST]
    return Machine(_cpu_model(), usable_cpus(), _memory_bytes(), gpu_model, min(sum(models.values()), _MOST_GPUS))


def _cpu_model(source: Path = _CPU_INFO) -> str:
    """The processor's name by /proc/cpuinfo: ``model name``, or what ARM's kernels say in its place; else the architecture."""
    try:
        text = source.read_text(errors="replace")
    except OSError:
        text = ""
    for key in ("model name", "Model", "Hardware", "CPU part"):
        if match := re.search(rf"^{key}\s*:\s*(.+)$", text, re.MULTILINE):
            return _plain(match[1])
    return os.uname().machine


def _memory_bytes() -> int:
    """The machine's memory, or the cgroup's (v2, ``memory.max``) where that is less, rounded to GiB: kernels differ in what they keep for themselves."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = _CGROUP_MEMORY.read_text().strip()
        total = total if limit == "max" else min(total, int(limit))
    except (OSError, ValueError):
        pass
    return max(1, round(total / _GIB)) * _GIB


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", "".join(c if c.isprintable() else " " for c in text)).strip()[:_LONGEST]
