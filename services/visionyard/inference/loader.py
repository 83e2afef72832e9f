"""Brings one revision of a deployment up in Triton: fetch, write, load, warm up, probe. Not yet an alias: that is the reconciler's."""

from __future__ import annotations

import asyncio
import errno
import logging
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from visionyard.inference.deployment import Revision
from visionyard.inference.modelserver import ModelBroken, ModelDirectories, ModelRefused, ModelServer, TritonLost
from visionyard.inference.serving import ServedModel
from visionyard.inference.turns import Turns
from visionyard.kit.artifacts import exported
from visionyard.kit.artifacts.exported import Artifact
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.port import ObjectStore, StoreUnavailable
from visionyard.kit.vision.letterbox import FILL

_LOG = logging.getLogger(__name__)
_PROBE_TIMEOUT_S = 60.0
_FIRST_PAUSE_S = 0.25
_LONGEST_PAUSE_S = 5.0
_MAX_REASON = 300
# Of Triton, in a row, while it loads or tries one model. A person may kill it once or twice in the midst of that; a model that kills it does so each time.
_MAX_LOSSES = 3
_FOLDERS = re.compile(r"(?:/[^\s/:'\"]+)+/")
_T = TypeVar("_T")

LOSSES = "triton_losses"
"""The metadata key by which a model is told that Triton did not survive loading."""


class Loader:
    """Loads revisions into Triton.

    Args:
        store: The bucket.
        repository: Where model directories are written.
        triton: Triton.
        load_timeout_s: How long Triton may take to load one model.
    """

    def __init__(self, store: ObjectStore, repository: ModelDirectories, triton: ModelServer, load_timeout_s: float) -> None:
        self._store = store
        self._repository = repository
        self._triton = triton
        self._load_timeout_s = load_timeout_s
        self._turns = Turns()

    async def bring_up(self, name: ResourceName, revision: Revision) -> ServedModel:
        """Loads a revision, or takes it as it is where Triton has it already; waits for a store or Triton that is away.

        Raises:
            YardError: ARTIFACT_NOT_FOUND, ARTIFACT_CORRUPT, MODEL_LOAD_FAILED or DISK_FULL.
        """
        model = revision.triton_model(name)
        artifact = await _patiently(lambda: asyncio.to_thread(exported.read_artifact, self._store, revision.artifact))
        await _patiently(lambda: asyncio.to_thread(self._write, model, artifact))
        await self._load(model, artifact)
        served = ServedModel(triton_model=model, revision=revision.id, artifact=artifact, letterbox=revision.letterbox)
        served.available.set()
        return served

    async def reload(self, served: ServedModel) -> None:
        """Loads a model again that Triton has lost (it died and is back), waiting for it where it is still away.

        Raises:
            YardError: as :meth:`bring_up`.
        """
        await _patiently(lambda: asyncio.to_thread(self._write, served.triton_model, served.artifact))
        if served.broken:
            await _patiently(lambda: self._triton.unload(served.triton_model))
            served.broken = False
        await self._load(served.triton_model, served.artifact)
        served.loads += 1
        served.available.set()

    def _write(self, model: str, artifact: Artifact) -> None:
        def fetch(path: Path) -> None:
            exported.download_file(self._store, artifact, exported.MODEL_FILE, path)

        try:
            self._repository.write(model, artifact, fetch)
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                message = "the disk of the model repository is full: make room, then deploy again"
                raise YardError(Reason.DISK_FULL, message, retry_after_s=30.0) from error
            _LOG.exception("cannot write the model directory", extra={"model": model})
            message = "the model repository cannot be written: look at the inference service's log"
            raise YardError(Reason.MODEL_LOAD_FAILED, message, {"name": str(artifact.name)}) from error

    async def _load(self, model: str, artifact: Artifact) -> None:
        """Loads a model that is in the repository, and tries it; waits for a Triton that is away.

        A model under which Triton was lost is tried again alone, so that no other model is blamed for it, nor lost with it while it loads.

        Raises:
            YardError: MODEL_LOAD_FAILED, with `triton_losses` in its metadata where Triton was lost under this model again and again.
        """
        losses = 0

        async def attempt() -> None:
            nonlocal losses
            async with self._turns.take(alone=losses > 0):
                # A Triton that is away already says nothing about the model.
                await self._triton.ready_models()
                try:
                    await self._load_once(model, artifact)
                except TritonLost as error:
                    losses += 1
                    _LOG.warning("Triton was lost while it loaded a model", extra={"model": model, "losses": losses, "error": str(error)})
                    if losses < _MAX_LOSSES:
                        raise
                    raise YardError(
                        Reason.MODEL_LOAD_FAILED,
                        f"Triton was lost {losses} times in a row while it loaded artifact {artifact.name}: look at Triton's log",
                        {"name": str(artifact.name), LOSSES: str(losses)},
                    ) from error

        await _patiently(attempt)

    async def _load_once(self, model: str, artifact: Artifact) -> None:
        try:
            await self._triton.load(model, self._load_timeout_s)
            await self._probe(model, artifact)
        except ModelBroken:
            await self._triton.unload(model)
            raise
        except ModelRefused as error:
            # One that loaded and then did not answer as it should would keep its memory.
            await self._triton.unload(model)
            _LOG.error("Triton refused a model", extra={"model": model, "artifact": str(artifact.name), "triton": str(error)})
            # Triton's first line says why; what follows is a traceback. The folders of its host are nobody's business.
            why = _FOLDERS.sub("", (str(error).strip().splitlines() or [""])[0])[:_MAX_REASON]
            raise YardError(
                Reason.MODEL_LOAD_FAILED,
                f"Triton refused to load artifact {artifact.name}: {why}",
                {"name": str(artifact.name)},
            ) from error

    async def _probe(self, model: str, artifact: Artifact) -> None:
        """Runs a blank image through the model and looks at what comes back.

        Raises:
            ModelRefused: it is not what the serving graph gives.
        """
        side = -(-artifact.image_size_px // artifact.stride_px) * artifact.stride_px
        blank = np.full((1, side, side, 3), FILL, np.uint8)
        try:
            inference = await self._triton.infer(model, blank, _PROBE_TIMEOUT_S)
        except TimeoutError as error:
            raise ModelRefused(f"a blank image was not answered within {_PROBE_TIMEOUT_S:.0f} s") from error
        c = inference.candidates
        count = len(c.scores)
        fits = count == artifact.max_candidates and c.boxes.shape == (count, 4) and c.classes.shape == c.anchors.shape == (count,)
        if (
            not fits
            or not np.isfinite(c.scores).all()
            or (count and not 0 <= c.classes.min() <= c.classes.max() < len(artifact.class_names))
        ):
            raise ModelRefused("a blank image gave candidates that do not have the serving graph's form")


async def _patiently(step: Callable[[], Awaitable[_T]]) -> _T:
    """Does a step, again and again while the store or Triton is away: whoever waits is told by states and deadlines, not by this."""
    pause = _FIRST_PAUSE_S
    while True:
        try:
            return await step()
        except (StoreUnavailable, TritonLost) as error:
            _LOG.warning("waiting for the store or Triton", extra={"error": str(error)})
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_S)
