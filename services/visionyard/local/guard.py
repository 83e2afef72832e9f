"""Waits for its supervisor's end and then kills every process of the stack: ``python -m visionyard.local.guard SUPERVISOR STACK_ID``.

The kernel kills the supervisor's own children with it (see ``launch.py``). Workers have left their service's session on purpose and outlive it, Triton's
stubs are Triton's children: those are found by the stack's id in their environment.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from visionyard.local import leftovers, triton

_POLL_S = 0.1


def main(arguments: list[str]) -> int:
    """Waits, kills, and says by its exit code whether nothing is left."""
    supervisor, stack_id = int(arguments[0]), arguments[1]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends after the supervisor, never before; the supervisor kills it last
    while os.getppid() == supervisor:
        time.sleep(_POLL_S)
    clean = leftovers.kill_all(stack_id)
    triton.remove_remains(stack_id)
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
