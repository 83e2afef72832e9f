"""Which machine a process runs on, so that a client and a service can tell whether they share one: through a tunnel every client looks like a local one."""

from __future__ import annotations

import functools
import hashlib
import re
import uuid
from pathlib import Path

METADATA_KEY = "x-visionyard-host"
"""The metadata key under which a client says where it is."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_DIGITS = 16
_VALID = re.compile(rf"[0-9a-f]{{{_DIGITS}}}\Z")


@functools.cache
def host_id(source: Path = _BOOT_ID) -> str:
    """Sixteen hexadecimal digits: the same for all processes of a running kernel, those in containers too; tells nothing else of the machine.

    Made of the kernel's boot id (random(4)), or where there is none of the network card's address.
    """
    try:
        told = source.read_text().strip()
    except OSError:
        told = f"{uuid.getnode():012x}"
    return hashlib.sha256(f"visionyard {told}".encode()).hexdigest()[:_DIGITS]


def is_host_id(value: object) -> bool:
    """Whether a stranger's metadata holds one."""
    return isinstance(value, str) and _VALID.match(value) is not None
