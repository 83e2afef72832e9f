"""Runs a program so that the kernel kills it when the one that started it dies: ``launch.py PARENT PROGRAM [ARGUMENT ...]``.

It sets PR_SET_PDEATHSIG and becomes the program. It is a program of its own because ``preexec_fn`` may deadlock in a process with threads, and gRPC
has some. The signal is tied to the parent's *thread* that made the process, so the supervisor starts everything from its main thread.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import NoReturn

_PR_SET_PDEATHSIG = 1  # prctl(2), linux/prctl.h


def main(arguments: list[str]) -> NoReturn:
    """Becomes the program; ends where the parent is dead already."""
    parent, program, *rest = arguments
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before prctl
        raise SystemExit(1)
    os.execv(program, [program, *rest])  # noqa: S606 - becoming the program is the point


if __name__ == "__main__":
    main(sys.argv[1:])
