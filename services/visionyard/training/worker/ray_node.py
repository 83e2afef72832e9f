"""What runs on a Ray node: an actor that starts the node's ranks, waits for them and ends them. Imported by Ray's worker processes."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Mapping
from typing import Any

import ray

from visionyard.kit.config import PREFIX, load_settings
from visionyard.kit.cpus import usable_cpus
from visionyard.kit.jobs.scratch import sweep
from visionyard.kit.jobs.worker import LOCK_FILE
from visionyard.training.config import TrainingSettings
from visionyard.training.worker.offline import prepare_training
from visionyard.training.worker.ranks import Place, Ranks, free_port

_LOOK_S = 0.5


class RayNode:
    """The ranks of one node. Its process is its own; nothing else runs in it.

    Args:
        variables: The settings of the service, as variables; those that are set on the node itself win.
    """

    def __init__(self, variables: Mapping[str, str]) -> None:
        own = {name: value for name, value in os.environ.items() if name.startswith(PREFIX)}
        os.environ.update({**variables, **own})
        self._address = str(ray.util.get_node_ip_address())
        self._ranks: Ranks | None = None
        self._over = threading.Event()

    def meeting_point(self) -> tuple[str, int]:
        """An address and a free port of this node."""
        return self._address, free_port(self._address)

    def run(self, job: str, attempt: int, place: Place) -> tuple[int, dict[str, Any] | None]:
        """Starts the ranks and waits for their end; torchrun's exit code, and what a rank tells of a failure, as :class:`YardError` writes it."""
        root = load_settings(TrainingSettings).work_dir.resolve() / "scratch" / "ray"
        sweep(root, ())  # what a node that died here before has left
        scratch = root / f"{job.replace('/', '-')}-{attempt}-{place.node}-{os.getpid()}"
        scratch.mkdir(parents=True)
        with (scratch / LOCK_FILE).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            prepare_training(scratch)
            self._ranks = Ranks(job, attempt, place, scratch, os.environ, self._cores(place.processes), self._address)
            try:
                while (ended := self._ranks.wait(_LOOK_S)) is None:
                    pass
            finally:
                self._ranks.stop(0.0)
                shutil.rmtree(scratch, ignore_errors=True)
                self._over.set()
        return ended.code, ended.error.to_json() if ended.error else None

    def stop(self, patience_s: float) -> None:
        """Asks the ranks to stop, gives them so long, and ends what is left; then :meth:`run` has cleaned up."""
        if self._ranks is not None:
            self._ranks.stop(patience_s)
            self._over.wait(patience_s)

    def _cores(self, processes: int) -> int:
        """The cores that the ranks share: as many as the node has for Ray, but of those of this machine."""
        own = ray.get_runtime_context().get_node_id()
        offered = next((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["NodeID"] == own), 0)
        return min(usable_cpus(), max(processes, int(offered)))
