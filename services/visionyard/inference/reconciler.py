"""Makes Triton serve what the bucket says, and keeps it so.

Two loops: one follows the deployment documents (this service's changes at once, other replicas' by polling), one watches Triton and brings its
models back after it died. A new revision is loaded beside the old one; then the alias moves, the old one is drained, unloaded and removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, field

from visionyard.inference.deployment import Deployment, Revision
from visionyard.inference.deployments import Deployments
from visionyard.inference.leftovers import Leftovers
from visionyard.inference.loader import LOSSES, Loader
from visionyard.inference.metrics import Metrics
from visionyard.inference.modelserver import ModelDirectories, ModelServer, TritonLost
from visionyard.inference.serving import Alias, ServedModel, ServingTable
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.port import StoreUnavailable

_LOG = logging.getLogger(__name__)
_WATCH_INTERVAL_S = 0.5
_RETRY_FAILED_S = 30.0
_RETRY_RELOAD_S = 5.0
_RETRY_DEADLY_S = 300.0
# Triton refusing a model can leak GPU memory in it (server#8969), and nothing about the artifact will change: only a new revision is tried again, which
# asking for the same once more makes.
_FINAL = frozenset({Reason.MODEL_LOAD_FAILED, Reason.ARTIFACT_NOT_FOUND})


@dataclass(eq=False)
class _Followed:
    """A deployment that this service follows."""

    deployment: Deployment
    task: asyncio.Task[None] | None = None
    reload: asyncio.Task[None] | None = None


@dataclass
class _Wakes:
    """What ends a loop's pause early."""

    bucket: asyncio.Event = field(default_factory=asyncio.Event)
    triton: asyncio.Event = field(default_factory=asyncio.Event)


class Reconciler:
    """The two loops. Lives on one event loop.

    Args:
        deployments: The documents.
        loader: Brings revisions up.
        repository: The model directories.
        triton: Triton.
        table: The aliases, moved by this alone.
        metrics: Counts.
        poll_interval_s: How often the bucket is looked at for other replicas' changes.
    """

    def __init__(
        self,
        deployments: Deployments,
        loader: Loader,
        repository: ModelDirectories,
        triton: ModelServer,
        table: ServingTable,
        metrics: Metrics,
        poll_interval_s: float,
    ) -> None:
        self._deployments = deployments
        self._loader = loader
        self._repository = repository
        self._triton = triton
        self._table = table
        self._metrics = metrics
        self._poll_interval_s = poll_interval_s
        self._followed: dict[ResourceName, _Followed] = {}
        self._etags: dict[ResourceName, str] = {}
        self._retiring: set[str] = set()
        self._leftovers = Leftovers(repository, triton)
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = _Wakes()
        self._lock = asyncio.Lock()
        self._read_once = False
        self._cleared = False

    @property
    def ready(self) -> bool:
        """Whether the bucket has been read since the service started."""
        return self._read_once

    async def run(self) -> None:
        """Reconciles until it is cancelled. What Triton has loaded then stays loaded, for the service's next start."""
        async with self._lock:
            await self._clear_once()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_bucket())
                group.create_task(self._watch_triton())
        finally:
            running = [task for f in self._followed.values() for task in (f.task, f.reload) if task is not None]
            for task in (*running, *self._tasks):
                task.cancel()
            await asyncio.gather(*running, *self._tasks, return_exceptions=True)

    async def _clear_once(self) -> None:
        """Clears away what an earlier service left, before anything is written: a request may come first. The lock is held."""
        if not self._cleared:
            await asyncio.to_thread(self._repository.clear_staging)
            self._cleared = True

    async def refresh(self, name: ResourceName) -> Deployment:
        """Reads one deployment now and begins to follow it as it is.

        Raises:
            YardError: DEPLOYMENT_NOT_FOUND.
            StoreUnavailable: the store does not answer.
        """
        async with self._lock:
            try:
                deployment = await asyncio.to_thread(self._deployments.get, name)
            except YardError:
                self._forget(name)
                raise
            await self._clear_once()
            self._follow(deployment)
            return deployment

    async def forget(self, name: ResourceName) -> None:
        """Stops serving a deployment that was deleted; what is under way in it is answered first."""
        async with self._lock:
            self._forget(name)

    def deployment(self, name: ResourceName) -> Deployment | None:
        """A followed deployment as it was last read; None where it is not known here."""
        followed = self._followed.get(name)
        return followed.deployment if followed is not None else None

    def lost(self, served: ServedModel, loads: int, *, broken: bool) -> None:
        """Tells that Triton has lost a model, as a request has found out.

        Args:
            served: The model.
            loads: Its `loads` when the request was sent; if it was loaded again since, there is nothing to do.
            broken: Its process died, Triton goes on.
        """
        if served.loads == loads:
            served.broken = served.broken or broken
            served.available.clear()
            self._wake.triton.set()

    # --- The bucket

    async def _follow_bucket(self) -> None:
        while True:
            try:
                await self._read_bucket()
            except StoreUnavailable as error:
                _LOG.warning("the store does not answer; what is loaded goes on serving", extra={"error": str(error)})
            await _pause(self._wake.bucket, self._poll_interval_s)

    async def _read_bucket(self) -> None:
        """One pass: listings, and the documents that changed since the last one."""
        async with self._lock:
            etags = await asyncio.to_thread(self._list)
            for name in set(self._etags) - set(etags):
                self._forget(name)
            for name, etag in etags.items():
                if self._etags.get(name) == etag:
                    continue
                try:
                    self._follow(await asyncio.to_thread(self._deployments.get, name))
                except YardError:
                    self._forget(name)
                self._etags[name] = etag
        self._read_once = True

    def _list(self) -> dict[ResourceName, str]:
        etags: dict[ResourceName, str] = {}
        for project in self._deployments.projects():
            etags |= self._deployments.etags(project)
        return etags

    def _follow(self, deployment: Deployment) -> None:
        name = deployment.name
        self._etags[name] = deployment.etag
        followed = self._followed.get(name)
        if followed is not None and followed.deployment.wanted.id == deployment.wanted.id:
            followed.deployment = deployment
            return
        if followed is not None and followed.task is not None:
            followed.task.cancel()
        if followed is None:
            followed = self._followed[name] = _Followed(deployment)
        followed.deployment = deployment
        alias = self._table.ensure(name)
        alias.loading, alias.failure = True, None
        alias.notify()
        followed.task = asyncio.create_task(self._bring(alias, followed), name=f"bring up {name}")

    def _forget(self, name: ResourceName) -> None:
        self._etags.pop(name, None)
        followed = self._followed.pop(name, None)
        if followed is None:
            return
        for task in (followed.task, followed.reload):
            if task is not None:
                task.cancel()
        alias = self._table.get(name)
        served = alias.served if alias is not None else None
        self._table.drop(name)
        if served is not None:
            self._retire(served)
        self._wake.triton.set()

    # --- One deployment

    async def _bring(self, alias: Alias, followed: _Followed) -> None:
        """Brings the wanted revision up and moves the alias, or falls back to the one before."""
        deployment = followed.deployment
        if alias.served is None and deployment.fallback is not None:
            await self._adopt(alias, deployment.fallback)
        while True:
            try:
                served = await self._loader.bring_up(alias.name, deployment.wanted)
            except YardError as failure:
                self._metrics.load("failed")
                _LOG.error("a deployment cannot be brought up", extra={"deployment": str(alias.name), "reason": failure.reason.name})
                # The failure is told only once it is clear what serves instead, so that nobody is refused in between.
                if alias.served is None and deployment.fallback is not None:
                    await self._fall_back(alias, deployment.fallback)
                alias.loading, alias.failure = False, failure
                alias.notify()
                if failure.reason in _FINAL:
                    return
                await asyncio.sleep(_RETRY_FAILED_S)
            else:
                break
        self._metrics.load("succeeded")
        self._move(alias, followed, served)

    async def _adopt(self, alias: Alias, revision: Revision) -> None:
        """Lets the revision before serve meanwhile, where Triton still has it loaded: the service has restarted in the middle of an update."""
        with contextlib.suppress(TritonLost, YardError):
            if revision.triton_model(alias.name) in await self._triton.ready_models():
                await self._fall_back(alias, revision)

    async def _fall_back(self, alias: Alias, revision: Revision) -> None:
        try:
            alias.served = await self._loader.bring_up(alias.name, revision)
        except YardError as failure:
            _LOG.error(
                "the version before cannot be brought up either", extra={"deployment": str(alias.name), "reason": failure.reason.name}
            )
        else:
            alias.notify()

    def _move(self, alias: Alias, followed: _Followed, served: ServedModel) -> None:
        old, alias.served = alias.served, served
        if followed.reload is not None:
            followed.reload.cancel()
        alias.loading, alias.failure = False, None
        alias.notify()
        _LOG.info("a deployment serves", extra={"deployment": str(alias.name), "model": served.triton_model})
        if old is not None and old.triton_model != served.triton_model:
            self._retire(old)

    def _retire(self, served: ServedModel) -> None:
        """Lets a model's requests end; then the watch finds that nobody needs it and unloads it."""
        self._retiring.add(served.triton_model)

        async def drain() -> None:
            try:
                await served.drained()
            finally:
                self._retiring.discard(served.triton_model)
                self._wake.triton.set()

        task = asyncio.create_task(drain(), name=f"drain {served.triton_model}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- Triton

    async def _watch_triton(self) -> None:
        while True:
            # What is served is noted before Triton is asked, so that a model loaded in between is not taken for a lost one.
            before = [(alias, alias.served) for alias in self._table.aliases() if alias.served is not None]
            try:
                loaded = await self._triton.loaded_models()
            except TritonLost:
                self._metrics.triton_up(up=False)
                for _, served in before:
                    served.available.clear()
            else:
                self._metrics.triton_up(up=True)
                for alias, served in before:
                    self._check(alias, served, loaded)
                if self._read_once:
                    await self._leftovers.collect(loaded, self._needed)
            await _pause(self._wake.triton, _WATCH_INTERVAL_S)

    def _check(self, alias: Alias, served: ServedModel, loaded: set[str]) -> None:
        followed = self._followed.get(alias.name)
        if followed is None or alias.served is not served or (followed.reload is not None and not followed.reload.done()):
            return
        if served.triton_model in loaded and not served.broken:
            served.available.set()
            return
        _LOG.warning("Triton has lost a model; loading it again", extra={"model": served.triton_model})
        served.available.clear()
        self._metrics.load("repeated")
        followed.reload = asyncio.create_task(self._reload(served), name=f"reload {served.triton_model}")

    async def _reload(self, served: ServedModel) -> None:
        try:
            await self._loader.reload(served)
        except YardError as failure:
            # The watch tries again; a model that worked before Triton's death will work again once what is missing (memory, disk) is there.
            _LOG.error("a model cannot be loaded again", extra={"model": served.triton_model, "reason": failure.reason.name})
            # One under which Triton itself dies takes all others down each time, so it is tried seldom.
            await asyncio.sleep(_RETRY_DEADLY_S if LOSSES in failure.metadata else _RETRY_RELOAD_S)

    def _needed(self) -> set[str]:
        """The models that serve, are being brought up, are being drained, or may have to be fallen back to."""
        needed = set(self._retiring)
        for name, followed in self._followed.items():
            deployment, alias = followed.deployment, self._table.get(name)
            needed.add(deployment.wanted.triton_model(name))
            served = alias.served if alias is not None else None
            if served is not None:
                needed.add(served.triton_model)
            if deployment.fallback is not None and (served is None or served.revision != deployment.wanted.id):
                needed.add(deployment.fallback.triton_model(name))
        return needed


async def _pause(wake: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await wake.wait()
    wake.clear()
