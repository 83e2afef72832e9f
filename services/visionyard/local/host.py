"""Whether this machine can run the embedded stack at all. Run as a file by `make setup` before gigabytes are installed, so only the standard library here.

nvidia-pytriton's wheel is built for x86-64 Linux with glibc 2.35 (manylinux_2_35_x86_64), and its Python backend loads libpython, which
Debian and Ubuntu keep in a package of its own.
"""

from __future__ import annotations

import ctypes
import platform
import sys
import sysconfig
from pathlib import Path

_GLIBC = (2, 35)


def problems() -> list[str]:
    """What is in the way, a sentence each, for the Python that runs this; empty where nothing is."""
    if platform.system() != "Linux" or platform.machine() not in {"x86_64", "AMD64"}:
        return [f"the embedded Triton runs on x86-64 Linux, not on {platform.machine()} {platform.system()}: use docker compose there"]
    found = []
    kind, version = platform.libc_ver()
    if kind != "glibc" or tuple(int(part) for part in version.split(".")[:2]) < _GLIBC:
        found.append(
            f"the embedded Triton needs glibc {_GLIBC[0]}.{_GLIBC[1]} or newer (Debian 12, Ubuntu 22.04), and this is {kind or 'another libc'} {version}"
        )
    name = f"libpython{sys.version_info[0]}.{sys.version_info[1]}.so.1.0"
    if not _loads(name):
        found.append(
            f"the embedded Triton needs {name}, which this Python does not bring: install it (Debian and Ubuntu: apt-get install {name.split('.so', maxsplit=1)[0]}), "
            "or use a Python with a shared library (make PYTHON=...)"
        )
    return found


def _loads(name: str) -> bool:
    for candidate in (str(Path(sysconfig.get_config_var("LIBDIR") or "") / name), name):
        try:
            ctypes.CDLL(candidate)
        except OSError:
            continue
        return True
    return False


def main() -> int:
    """Prints what is in the way; 1 where anything is."""
    found = problems()
    for sentence in found:
        sys.stderr.write(f"{sentence}\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
