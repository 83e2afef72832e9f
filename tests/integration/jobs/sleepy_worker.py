"""A worker for the tests of the jobs kit: counts to ``spec["steps"]``, a step every ``spec["step_s"]``, and points at each step it has finished."""

import sys
import time
from pathlib import Path

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.context import JobContext
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.jobs.worker import run


def handle(context: JobContext) -> dict[str, object]:
    spec = context.job.spec
    print(f"attempt {context.job.attempt} begins at step {context.job.pointers.get('step', 0)}", flush=True)
    if spec.get("fail"):
        raise YardError(Reason.NO_IMAGES, "there is no image in it")
    if spec.get("break"):
        raise RuntimeError("a bug")
    if context.job.attempt <= spec.get("crash_attempts", 0):
        sys.stdout.flush()
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)
    taken = bytearray(b"x" * spec.get("takes_bytes", 0))
    if spec.get("writes_bytes"):
        with Path("big").open("wb") as file:
            file.writelines(b"x" * (1 << 20) for _ in range(spec["writes_bytes"] >> 20))
    for step in range(context.job.pointers.get("step", 0), spec["steps"]):
        context.make_room()
        end = time.monotonic() + spec["step_s"]
        while time.monotonic() < end:
            if not spec.get("deaf"):
                context.check()
            time.sleep(0.01)
        context.store.put(f"{context.attempt_prefix}steps/{step}", b"done")
        context.point(step=step + 1)
        context.report("counting", step + 1, spec["steps"], "steps", {"last": step})
    del taken
    return {"result": f"counted by attempt {context.job.attempt}"}


if __name__ == "__main__":
    sys.exit(run(JobKind.EXPORT, handle))
