"""Gives queued jobs to worker processes: claims, spawns, watches, and takes over what a dead worker left."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from visionyard.kit.errors import YardError
from visionyard.kit.jobs import joblog
from visionyard.kit.jobs.child import Child
from visionyard.kit.jobs.events import JobEvents
from visionyard.kit.jobs.expiry import Expiry
from visionyard.kit.jobs.guarding import Guard, keep_guard
from visionyard.kit.jobs.holding import Holding
from visionyard.kit.jobs.line import Line
from visionyard.kit.jobs.making_room import RoomMaker
from visionyard.kit.jobs.model import Job, JobKind, JobState, node_name
from visionyard.kit.jobs.queue import Marker
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.jobs.scratch import sweep
from visionyard.kit.jobs.settling import Settler
from visionyard.kit.jobs.signals import signalled
from visionyard.kit.jobs.standby import Standby
from visionyard.kit.jobs.worker import EXIT_CRASHED, EXIT_GIVEN_BACK, EXIT_STORE_FULL, LOG_FILE, SCRATCH_VARIABLE, no_room
from visionyard.kit.objectstore.port import ObjectStore, StoreUnavailable

_log = logging.getLogger(__name__)
_STOP_WORKERS_S = 8.0
_SETTLE_S = 3.0
_SWEEP_EVERY_S = 15.0
_NO_WORKER_PAUSE_S = 5.0
_ELSEWHERE_S = 3.0
"""How long a waiting job is left to other machines, which may have a free slot, before a running one of this machine makes room for it."""


def _one(_spec: Mapping[str, Any]) -> int:
    return 1


class Dispatcher:
    """One queue's hands on one machine.

    Args:
        store: The bucket.
        kind: Which queue.
        worker_module: What ``python -m`` runs as a worker.
        slots: The environment of each slot, ``[{"CUDA_VISIBLE_DEVICES": "0"}]``; as many workers run at once. One that takes several slots gets the
            values of each, joined by commas.
        work_dir: Where scratch folders are made; stands for this machine together with its host name.
        lease_s: A worker that has not beaten for so long, by the store's clock, is dead.
        poll_s: Seconds between two looks at the queue, for what nobody tells it: jobs that other services queued, and workers that died elsewhere.
        stop_workers: Whether workers are told to go when the dispatcher stops (in a container, where they could not outlive it anyway).
        standby: Where a worker may wait for its job; a job that ended well has one wait for the next, and the dispatcher ends it with itself.
        events: Hears of every change that is made here.
        width: Tells, by a job's spec, how many slots it takes; where that is more than there are, it is left to other machines.
        guard: Says which workers take too much of the machine; None for none.
        on_claim: Told, in a thread, of each job that was claimed here, before its worker begins.
        open_slots: Gives those of the slots without a job that may get one now; None for all. May block.
    """

    def __init__(
        self,
        store: ObjectStore,
        kind: JobKind,
        worker_module: str,
        slots: Sequence[dict[str, str]],
        work_dir: Path,
        lease_s: float,
        poll_s: float = 1.0,
        *,
        stop_workers: bool = False,
        standby: Standby | None = None,
        events: JobEvents | None = None,
        width: Callable[[Mapping[str, Any]], int] = _one,
        open_slots: Callable[[Sequence[int]], Sequence[int]] | None = None,
        guard: Guard | None = None,
        on_claim: Callable[[Job], None] | None = None,
    ) -> None:
        self.records = JobRecords(store, kind, events)
        self._width = width
        self._kind = kind
        self._module = worker_module
        self._slots = list(slots)
        self._scratch_root = work_dir / "scratch" / kind.value
        self._node = node_name(work_dir)
        self._line, self._holding = Line(self.records), Holding(self.records)
        self._expiry = Expiry(self.records, timedelta(seconds=lease_s), observe_s=min(5.0, lease_s / 2))
        self._settler = Settler(self.records)
        self._poll_s = poll_s
        self._stop_workers = stop_workers
        self._standby = standby
        self._open_slots = open_slots or (lambda free: free)
        self._room = RoomMaker(self.records, lambda job: width(job.spec) <= len(slots))
        self._children: dict[str, Child] = {}
        self._held: dict[Child, tuple[int, ...]] = {}
        self._watched: dict[Child, Path] = {}
        self._guard = guard
        self._on_claim = on_claim
        self._sentenced: dict[Child, YardError] = {}
        self._watchers: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_change: Callable[[], None] | None = None

    def tell(self, on_change: Callable[[], None]) -> None:
        """Has somebody told, on the event loop, whenever a job of this machine may have begun or ended."""
        self._on_change = on_change

    def wake(self) -> None:
        """Has it look at the queue now; from any thread, and of no effect while it does not run."""
        self._line.is_old()
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop has just been closed
                loop.call_soon_threadsafe(self._woken.set)

    async def run(self) -> None:
        """Works until cancelled. Workers live on, unless ``stop_workers``."""
        swept_at = -_SWEEP_EVERY_S
        self._loop = asyncio.get_running_loop()
        guarding = asyncio.create_task(keep_guard(self._guard, self._working, self._sentenced.__setitem__)) if self._guard else None
        try:
            while True:
                self._woken.clear()
                if time.monotonic() - swept_at >= _SWEEP_EVERY_S:
                    swept_at = time.monotonic()
                    await asyncio.to_thread(sweep, self._scratch_root, set(self._watched.values()))
                try:
                    await self._round()
                except (StoreUnavailable, YardError) as error:
                    _log.warning("the %s queue could not be read: %s", self._kind.value, error)
                    self._expiry.clear()  # whoever could not beat while the store was away gets time to do so
                except OSError as error:
                    _log.error("no worker can be started on this machine (%s); its jobs wait", error)
                    await asyncio.sleep(_NO_WORKER_PAUSE_S)
                await signalled(self._woken, self._poll_s)
        finally:
            self._loop = None
            if guarding is not None:
                guarding.cancel()
            if self._standby is not None:
                await self._standby.close()
            if self._stop_workers:
                await self._end_children()
                if self._watchers:
                    await asyncio.wait(self._watchers, timeout=_SETTLE_S)
            for watcher in self._watchers:
                watcher.cancel()

    async def _round(self) -> None:
        running = await asyncio.to_thread(lambda: list(self.records.running()))
        self._expiry.keep(running)
        busy = set(chain.from_iterable(self._held.values()))
        dead = [job for job in running if await self._is_dead(job, busy)]
        free = [slot for slot in range(len(self._slots)) if slot not in busy]
        known_free, free = len(free), list(await asyncio.to_thread(self._open_slots, free))
        most = len(self._slots) - (known_free - len(free))
        reserved = [job for job in dead if await self._give(job, free, most)]
        if await asyncio.to_thread(self._holding.release):
            self._line.is_old()
        head = await self._deal(free, most, running) if free and not reserved else None
        if head is not None or not free:
            own = [job for job in running if job.node == self._node]
            await asyncio.to_thread(self._room.ask, running, own, head, _ELSEWHERE_S)

    async def _deal(self, free: list[int], most: int, running: Sequence[Job]) -> Marker | None:
        """Gives waiting jobs the free slots in their order; the marker of the one, if any, that waits for more slots than are free."""
        by_project = Counter(job.name.project for job in running)
        for marker in await asyncio.to_thread(self._line.order, by_project):
            waiting = await asyncio.to_thread(self.records.standing, marker)
            if waiting is None:
                self._line.leave(marker)
                continue
            if await self._give(waiting, free, most):
                return marker
            if not free:
                break
        return None

    async def _give(self, job: Job, free: list[int], most: int) -> bool:
        """Gives a job as many of the free slots as it takes.

        Args:
            job: The job.
            free: The free slots; those that it gets are taken out.
            most: How many may become free at best.

        Returns:
            Whether it waits for more of them, so that no job behind it may have those that are free.
        """
        width = self._width(job.spec)
        if width > most:
            return False
        if width > len(free):
            return True
        if await self._claim_and_spawn(job, tuple(free[:width])):
            del free[:width]
        return False

    async def _is_dead(self, job: Job, busy: set[int]) -> bool:
        """Whether a running job's worker is dead and its job is to be claimed; notes the slots of this machine that are not free."""
        child = self._children.get(str(job.name))
        if not await asyncio.to_thread(self._expiry.expired, job, own=child is not None):
            if job.node == self._node:
                busy.update(job.slots)
        elif child is not None:
            # It lives but does not beat: stopped, or stuck for good. Its watcher settles the job, so its slot is free by the next round or so.
            _log.warning("the worker of %s has not beaten for its lease and is ended", job.name)
            child.kill_group()
            busy.update(job.slots)
        elif job.state is JobState.CANCELLING:
            await asyncio.to_thread(self._settler.finish_cancel, job)
        else:
            return True
        return False

    async def _claim_and_spawn(self, job: Job, slots: tuple[int, ...]) -> bool:
        scratch = self._scratch_root / f"{job.name.project}-{job.name.id}-{job.attempt + 1}"
        await asyncio.to_thread(scratch.mkdir, parents=True, exist_ok=True)  # before the claim: where the disk is full nothing is claimed
        claimed = await asyncio.to_thread(self._settler.claim, job, self._node, slots)
        if job.marker is not None:
            self._line.leave(job.marker)  # it is this one's or another's now
        if claimed is None:
            with suppress(OSError):
                scratch.rmdir()  # empty unless another dispatcher of this machine has just claimed the same attempt
            return False
        try:
            if self._on_claim is not None:
                await asyncio.to_thread(self._on_claim, claimed)
            child = await self._spawn(claimed, {**self._environment(slots), SCRATCH_VARIABLE: str(scratch)}, scratch / LOG_FILE)
        except OSError:
            await asyncio.to_thread(self._settler.requeue, claimed, died=False)
            raise
        _log.info(
            "worker started",
            extra={
                "job": str(claimed.name),
                "attempt": claimed.attempt,
                "pid": child.pid,
                "slots": list(slots),
                "request_id": claimed.request_id,
            },
        )
        self._children[str(claimed.name)], self._held[child] = child, slots
        self._watched[child] = scratch
        watcher = asyncio.create_task(self._watch(claimed, child, scratch))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        self._changed()
        return True

    def _environment(self, slots: tuple[int, ...]) -> dict[str, str]:
        return {name: ",".join(self._slots[slot][name] for slot in slots) for name in self._slots[slots[0]]}

    async def _spawn(self, job: Job, environment: dict[str, str], output: Path) -> Child:
        """A worker with the job: the one that waited for it, else a new one."""
        name, attempt = str(job.name), job.attempt
        waiting = self._standby.take(name, attempt, environment, output) if self._standby is not None else None
        if waiting is not None:
            return waiting
        command = [sys.executable, "-m", self._module, "--job", name, "--attempt", str(attempt)]
        return await asyncio.to_thread(Child, command, {**os.environ, **environment}, output)

    async def _watch(self, job: Job, child: Child, scratch: Path) -> None:
        """Waits for a worker's end, and takes the job up again at once where the worker died over it."""
        code = await child.wait()
        _log.info("worker ended", extra={"job": str(job.name), "attempt": job.attempt, "pid": child.pid, "exit_code": code})
        child.kill_group()
        self._changed()
        if code not in {0, EXIT_GIVEN_BACK, EXIT_CRASHED, EXIT_STORE_FULL}:
            await asyncio.to_thread(joblog.merge, self.records.store, job.name, job.attempt, scratch / LOG_FILE)
        await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
        del self._watched[child]
        why = self._sentenced.pop(child, no_room() if code == EXIT_STORE_FULL else None)
        try:
            settled = False
            while not settled:
                settled = await self._settler.settle(job, why)
                await asyncio.sleep(0 if settled else 1.0)
        finally:
            if self._children.get(str(job.name)) is child:  # not the next attempt's, which may have been spawned meanwhile
                del self._children[str(job.name)]
            del self._held[child]
            if code != 0:
                self._line.is_old()  # its job may wait again, before others
            self._woken.set()  # its slot is free
            self._changed()
            if self._standby is not None and self._loop is not None and code == 0:
                self._standby.prepare()  # who ran one job often runs the next

    def _changed(self) -> None:
        if self._on_change is not None:
            self._on_change()

    def _working(self) -> dict[str, tuple[Child, Path]]:
        """The workers that have not ended, by their jobs, with their scratch folders."""
        return {job: (child, self._watched[child]) for job, child in self._children.items() if child in self._watched}

    async def _end_children(self) -> None:
        children = list(self._children.values())
        for child in children:
            child.terminate()
        if children:
            with suppress(TimeoutError):
                async with asyncio.timeout(_STOP_WORKERS_S):
                    await asyncio.gather(*(child.wait() for child in children))
        for child in children:
            child.kill_group()
