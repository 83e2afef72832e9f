"""Whether a service's store can be worked with: what a room's ``App.ready`` asks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.objectstore.probe import probe_conditional_writes

_NOTHING = "probes/readiness"


class StoreReadiness:
    """Tries the store's conditional writes once, then only whether it answers.

    Args:
        store: The bucket.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._conditional_writes_hold = False
        self._fit = asyncio.Event()

    async def ready(self) -> None:
        """Returns when the store can be worked with.

        Raises:
            StoreUnavailable: it does not answer.
            StoreUnfitError: its conditional writes don't hold.
        """
        await asyncio.to_thread(self._look)
        self._fit.set()

    async def then(self, run: Callable[[], Awaitable[None]]) -> None:
        """Runs what needs the store's conditional writes (a dispatcher) once they have been found to hold."""
        await self._fit.wait()
        await run()

    def _look(self) -> None:
        if not self._conditional_writes_hold:
            probe_conditional_writes(self._store)
            self._conditional_writes_hold = True
        list(self._store.list(_NOTHING, limit=1))
