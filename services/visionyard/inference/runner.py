"""Runs an image through the model that serves a deployment now, waiting for one that is loading, and again where Triton was lost on the way.

Predicting changes nothing, so a request that Triton's death has cut off is asked again when Triton is back.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visionyard.inference.deployments import not_found
from visionyard.inference.modelserver import Inference, ModelBroken, ModelRefused, ModelServer, TritonLost
from visionyard.inference.reconciler import Reconciler
from visionyard.inference.serving import Alias, ServedModel, ServingTable
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ResourceName
from visionyard.kit.vision.decode import decode_image
from visionyard.kit.vision.letterbox import Fit, letterbox, plan

_RETRY_AFTER_S = 2.0
_PAUSE_S = 0.05
_SPARE_S = 0.2
# Each is a death of Triton or of a model's process; an image that causes them must not cause many.
_BROKEN_RETRIES = 5


@dataclass(frozen=True)
class Prepared:
    """An image as a model takes it.

    Attributes:
        images: UINT8 [1, H, W, 3], RGB, letterboxed.
        fit: How it was fitted.
    """

    images: NDArray[np.uint8]
    fit: Fit


@dataclass(frozen=True)
class Run:
    """What became of one image.

    Attributes:
        served: The model that answered.
        fit: How the image was fitted.
        inference: What the model gave.
        decode_s: Decoding and letterboxing, waiting for a thread included, in seconds.
        call_s: The call to Triton that was answered, in seconds.
    """

    served: ServedModel
    fit: Fit
    inference: Inference
    decode_s: float
    call_s: float


class Runner:
    """Runs images. Lives on one event loop.

    Args:
        table: Who serves.
        reconciler: Told of lost models, asked for unknown deployments.
        triton: Triton.
        threads: Where images are decoded.
        limit_pixels: The most pixels of a decoded image.
        patience_s: How long an image waits for a deployment that is loading or for Triton, in seconds, its deadline allowing.
    """

    def __init__(
        self, table: ServingTable, reconciler: Reconciler, triton: ModelServer, threads: Executor, limit_pixels: int, patience_s: float
    ) -> None:
        self._table = table
        self._reconciler = reconciler
        self._triton = triton
        self._threads = threads
        self._limit_pixels = limit_pixels
        self._patience_s = patience_s

    async def serving(self, name: ResourceName, deadline: float) -> ServedModel:
        """The model that answers now, waited for while it is loading or Triton is coming back.

        Args:
            name: The deployment.
            deadline: Until when the caller waits, on the monotonic clock.

        Raises:
            YardError: DEPLOYMENT_NOT_FOUND, DEPLOYMENT_NOT_READY or TRITON_UNAVAILABLE.
            StoreUnavailable: the deployment is not known here and the store does not answer.
        """
        return await self._wait_for(name, self._give_up(deadline))

    async def run(self, name: ResourceName, image: bytes, deadline: float) -> Run:
        """Prepares the image for the model that serves and runs it, again where the model was lost on the way.

        Args:
            name: The deployment.
            image: A JPEG or PNG file.
            deadline: Until when the caller waits, on the monotonic clock.

        Raises:
            YardError: as :meth:`serving`, or IMAGE_UNREADABLE, IMAGE_TOO_LARGE, INTERNAL (the model failed).
            TimeoutError: the deadline passed.
        """
        give_up = self._give_up(deadline)
        prepared: Prepared | None = None
        prepared_for: ServedModel | None = None
        loop = asyncio.get_running_loop()
        broken, decode_s = 0, 0.0
        while True:
            served = await self._wait_for(name, give_up)
            with served.in_use():
                if prepared is None or prepared_for is not served:
                    begin = time.monotonic()
                    prepared = await loop.run_in_executor(self._threads, _prepare, image, served, self._limit_pixels)
                    prepared_for = served
                    decode_s += time.monotonic() - begin
                begin, loads = time.monotonic(), served.loads
                try:
                    inference = await self._infer(served, prepared, give_up, deadline)
                except TritonLost as error:
                    self._reconciler.lost(served, loads, broken=isinstance(error, ModelBroken))
                    broken += 1
                    if broken > _BROKEN_RETRIES:
                        raise self._triton.unavailable() from None
                except ModelRefused as error:
                    raise YardError(Reason.INTERNAL, "the model failed on this image: look at the inference service's log") from error
                else:
                    return Run(served, prepared.fit, inference, decode_s, time.monotonic() - begin)
            await asyncio.sleep(_PAUSE_S)

    def _give_up(self, deadline: float) -> float:
        """Until when to wait for a model: a little before the deadline, so that the caller learns why."""
        return min(deadline - _SPARE_S, time.monotonic() + self._patience_s)

    async def _infer(self, served: ServedModel, prepared: Prepared, give_up: float, deadline: float) -> Inference:
        """Runs the model. A Triton that holds its port but does nothing is not waited for to the deadline; one that is only slow is.

        Raises:
            YardError: TRITON_UNAVAILABLE, the watch has found that Triton does not answer.
            TritonLost: as :meth:`ModelServer.infer`.
            TimeoutError: as :meth:`ModelServer.infer`.
            ModelRefused: as :meth:`ModelServer.infer`.
        """
        left = max(deadline - time.monotonic(), 0.001)
        running = asyncio.ensure_future(self._triton.infer(served.triton_model, prepared.images, left))
        try:
            done, _ = await asyncio.wait([running], timeout=max(give_up - time.monotonic(), 0))
            if not done and not served.available.is_set():
                raise self._triton.unavailable()
            return await running
        finally:
            if not running.cancel() and not running.cancelled():
                running.exception()  # noted, as asyncio wants, where nobody has waited for it to the end

    async def _wait_for(self, name: ResourceName, give_up: float) -> ServedModel:
        alias = self._table.get(name)
        if alias is None:
            await self._reconciler.refresh(name)
            alias = self._table.ensure(name)
        while True:
            served = alias.served
            if served is not None and served.available.is_set():
                return served
            if alias.gone:
                raise not_found(name)
            if served is None and not alias.loading:
                raise self._not_ready(alias)
            try:
                async with asyncio.timeout(give_up - time.monotonic()):
                    await _first_of(alias.changed(), *([served.available.wait()] if served is not None else []))
            except TimeoutError:
                raise (self._not_ready(alias) if served is None else self._triton.unavailable()) from None

    def _not_ready(self, alias: Alias) -> YardError:
        state = "FAILED" if alias.failure is not None else "LOADING"
        why = f"could not be loaded ({alias.failure})" if alias.failure is not None else "is still being loaded: try again in a moment"
        return YardError(
            Reason.DEPLOYMENT_NOT_READY,
            f"deployment {alias.name.id!r} {why}",
            {"name": str(alias.name), "state": state},
            retry_after_s=None if alias.failure is not None else _RETRY_AFTER_S,
        )


def _prepare(image: bytes, served: ServedModel, limit_pixels: int) -> Prepared:
    pixels = decode_image(image, limit_pixels)
    height, width = pixels.shape[:2]
    fit = plan(width, height, served.artifact.image_size_px, served.artifact.stride_px, served.letterbox)
    return Prepared(letterbox(pixels, fit)[None], fit)


async def _first_of(*waits: object) -> None:
    """Returns when the first of several waits is over; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
