"""Several processes that train together: on the GPUs of one machine, on shares of a CPU, or on several machines by Ray."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from visionyard.kit.cpus import usable_cpus
from visionyard.kit.errors import YardError, invalid_field
from visionyard.training.estimates.machine import Machine
from visionyard.training.spec import DEFAULT_BATCH, TrainingSpec

MOST_GPUS, MOST_NODES = 64, 256


class Launcher(enum.Enum):
    """Who starts the processes; the values are what a job's document keeps."""

    LOCAL = ""
    """The job's worker, on its own machine."""
    RAY = "ray"
    """A Ray cluster, on its nodes."""


@dataclass(frozen=True)
class Capacity:
    """What the service knows of the machine that it runs on, and of the cluster that it may use.

    Attributes:
        gpus: How many GPUs trainings get.
        cores: How many CPU cores they may use.
        ray_address: The Ray cluster's address; empty for none.
        ray_installed: Whether this machine's environment has Ray.
    """

    gpus: int
    cores: int
    ray_address: str = ""
    ray_installed: bool = False


def capacity_here(slots: Sequence[Mapping[str, str]] = (), ray_address: str = "") -> Capacity:
    """The machine of this process, with the GPUs of its slots."""
    gpus = sum(bool(slot.get("CUDA_VISIBLE_DEVICES")) for slot in slots)
    return Capacity(gpus, usable_cpus(), ray_address, find_spec("ray") is not None)


def capacity_of(machine: Machine) -> Capacity:
    """A machine that is known by its parts alone."""
    return Capacity(machine.gpu_count, machine.cpu_cores)


def slots_taken(slots: Sequence[Mapping[str, str]]) -> Callable[[Mapping[str, Any]], int]:
    """Tells how many of a machine's slots a training takes, by its spec: one for each GPU; on a CPU one, however many processes share it.

    A training on Ray takes one, for its worker, which validates the best weights in the end.
    """
    machine = capacity_here(slots)

    def taken(spec: Mapping[str, Any]) -> int:
        processes = max(1, int(spec.get("gpus", 0)))
        if spec.get("launcher") == Launcher.RAY.value:
            return 1
        if machine.gpus:
            return processes
        return 1 if processes <= machine.cores else len(slots) + 1

    return taken


def why_not(spec: TrainingSpec, machine: Capacity) -> str:
    """Why a machine cannot run so many processes, to go on behind its name; empty where it can, or where a Ray cluster does in its place."""
    if spec.launcher == Launcher.RAY.value and machine.ray_address:
        return ""
    if machine.gpus:
        return f"has {machine.gpus} {'GPU' if machine.gpus == 1 else 'GPUs'} for trainings" if spec.gpus > machine.gpus else ""
    return f"has no GPU and {machine.cores} CPU cores, of which each process takes one" if spec.gpus > machine.cores else ""


def check_processes(spec: TrainingSpec, machine: Capacity, *, here: bool = True) -> None:
    """Checks what is asked for against what is known.

    Args:
        spec: What is asked for.
        machine: What the service knows of the machine that it runs on.
        here: Whether it is to train there, or may do so on another one, as for an estimate.

    Raises:
        YardError: INVALID_FIELD.
    """
    if not 0 <= spec.gpus <= MOST_GPUS:
        raise invalid_field("training_job.spec.gpus", f"takes 0 to {MOST_GPUS}, not {spec.gpus}")
    if not 0 <= spec.nodes <= MOST_NODES:
        raise invalid_field("training_job.spec.nodes", f"takes 0 to {MOST_NODES}, not {spec.nodes}")
    if spec.launcher == Launcher.RAY.value:
        _check_ray(machine)
    elif spec.nodes > 1:
        raise invalid_field("training_job.spec.nodes", f"takes a Ray cluster for {spec.nodes} machines: choose the launcher ray")
    elif here and (reason := why_not(spec, machine)):
        raise invalid_field("training_job.spec.gpus", f"is {spec.gpus}, and this machine {reason}: ask for fewer")
    if spec.processes > 1:
        _check_batch(spec)


def _check_ray(machine: Capacity) -> None:
    if not machine.ray_installed:
        raise _no_ray(
            "Ray is not installed where this service runs: in Visionyard's checkout run pip install -c constraints.txt '.[training,ray]'"
        )
    if not machine.ray_address:
        raise _no_ray("this service knows no Ray cluster: set VISIONYARD_RAY_ADDRESS to the cluster's address and start the service again")


def _no_ray(why: str) -> YardError:
    return invalid_field("training_job.spec.launcher", f"cannot be ray: {why}")


def _check_batch(spec: TrainingSpec) -> None:
    """The batch is that of all processes together, and each takes the same share of it."""
    batch = spec.arguments().get("batch", DEFAULT_BATCH)
    if not isinstance(batch, int) or batch < 1:
        raise invalid_field(
            "training_job.spec.batch_size", f"must be a number where several processes train together, not {batch}: give --batch"
        )
    if batch % spec.processes:
        near = max(spec.processes, batch - batch % spec.processes)
        raise invalid_field(
            "training_job.spec.batch_size",
            f"is {batch}, which {spec.processes} processes cannot share evenly: take a multiple of {spec.processes}, such as {near}",
        )
