"""Who serves now: the table of aliases from a deployment to the model that answers, with the requests under way counted.

Lives on one event loop; nothing here blocks and nothing here knows of Triton or the bucket.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
from collections.abc import Iterator
from dataclasses import dataclass, field

from visionyard.kit.artifacts.exported import Artifact
from visionyard.kit.errors import YardError
from visionyard.kit.names import ResourceName
from visionyard.kit.vision.letterbox import LetterboxMode


class DeploymentState(enum.Enum):
    """Where a deployment stands on this server; the names are those of the proto enum."""

    LOADING = "loading"
    READY = "ready"
    UPDATING = "updating"
    FAILED = "failed"


@dataclass(eq=False)
class ServedModel:
    """A model in Triton that answers for a deployment.

    Attributes:
        triton_model: Its name in Triton.
        revision: The revision of the deployment that it serves.
        artifact: What it runs.
        letterbox: How images are fitted.
        available: Set while Triton has it loaded; unset from Triton's death to its return.
        loads: How often it was loaded again; tells a loss that is already mended from a new one.
        broken: Its process died inside a Triton that goes on, so that it must be unloaded first.
    """

    triton_model: str
    revision: str
    artifact: Artifact
    letterbox: LetterboxMode
    available: asyncio.Event = field(default_factory=asyncio.Event)
    loads: int = 0
    broken: bool = False
    _under_way: int = 0
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._idle.set()

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Counts a request in for as long as the block lasts, so that the model is not unloaded under it."""
        self._under_way += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def drained(self) -> None:
        """Returns when no request is under way."""
        await self._idle.wait()


@dataclass(eq=False)
class Alias:
    """A deployment's name, and what answers to it.

    Attributes:
        name: The deployment.
        served: What answers now; None while nothing does.
        failure: Why the wanted revision cannot be served; None while it can or may yet.
        loading: Whether the wanted revision is being brought up.
        gone: The deployment was deleted.
    """

    name: ResourceName
    served: ServedModel | None = None
    failure: YardError | None = None
    loading: bool = True
    gone: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def state(self, wanted: str) -> DeploymentState:
        """Where the deployment stands, when it should serve the revision `wanted`."""
        if self.served is not None and self.served.revision == wanted:
            return DeploymentState.READY
        if self.failure is not None:
            return DeploymentState.FAILED
        return DeploymentState.LOADING if self.served is None else DeploymentState.UPDATING

    def notify(self) -> None:
        """Wakes all who wait for a change."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def changed(self) -> None:
        """Returns at the next change."""
        await self._changed.wait()


class ServingTable:
    """The aliases by deployment name."""

    def __init__(self) -> None:
        self._aliases: dict[str, Alias] = {}

    def get(self, name: ResourceName) -> Alias | None:
        """The alias, or None where the deployment is not known here (yet)."""
        return self._aliases.get(str(name))

    def ensure(self, name: ResourceName) -> Alias:
        """The alias, made where it is missing."""
        return self._aliases.setdefault(str(name), Alias(name))

    def drop(self, name: ResourceName) -> None:
        """Takes an alias away; who waits for it is woken and finds it gone."""
        alias = self._aliases.pop(str(name), None)
        if alias is not None:
            alias.gone = True
            alias.served = None
            alias.notify()

    def aliases(self) -> list[Alias]:
        """All of them."""
        return list(self._aliases.values())
