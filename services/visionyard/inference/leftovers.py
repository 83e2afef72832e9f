"""Unloads and removes models that no deployment needs: retired ones, and leftovers of interrupted work.

Only this service's own: others may keep their models in the same Triton and folder, and a volume its `lost+found`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from visionyard.inference.deployment import is_triton_model
from visionyard.inference.modelserver import ModelDirectories, ModelServer, TritonLost

_LOG = logging.getLogger(__name__)


class Leftovers:
    """Clears up.

    Args:
        repository: The model directories.
        triton: Triton.
    """

    def __init__(self, repository: ModelDirectories, triton: ModelServer) -> None:
        self._repository = repository
        self._triton = triton
        self._refused: set[tuple[str, str]] = set()

    async def collect(self, loaded: set[str], needed: Callable[[], set[str]]) -> None:
        """Removes what is there and not needed; tries again at the next call what Triton or the disk refused.

        Args:
            loaded: The models that Triton has loaded.
            needed: The models that are needed at this moment.
        """
        there = set(loaded)
        try:
            there |= set(await asyncio.to_thread(self._repository.models))
        except OSError as error:
            self._cannot("list", "", error)
        for model in sorted(filter(is_triton_model, there)):
            # Asked anew for each: a deployment may have been made since the folder was listed. What is not needed once never is again.
            if model in needed():
                continue
            try:
                if model in loaded:
                    await self._triton.unload(model)
            except TritonLost:
                return
            try:
                await asyncio.to_thread(self._repository.remove, model)
            except OSError as error:
                self._cannot("remove", model, error)
                continue
            _LOG.info("a model was removed", extra={"model": model})

    def _cannot(self, what: str, model: str, error: OSError) -> None:
        """Logs what the disk refused, once: the next look, in half a second, tries again."""
        if (what, model) not in self._refused:
            self._refused.add((what, model))
            _LOG.error("the model repository refuses", extra={"what": what, "model": model, "error": str(error)})
