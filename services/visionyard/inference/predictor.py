"""From an image file's bytes to boxes in its own pixels.

Decoding and letterboxing run in a few threads (OpenCV and libjpeg let go of the interpreter's lock), Triton runs the graph, and suppression looks
only at what is above the confidence. Predict changes nothing, so a request that Triton's death has cut off is asked again when Triton is back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visionyard.inference.deployments import not_found
from visionyard.inference.metrics import Metrics
from visionyard.inference.modelserver import Inference, ModelBroken, ModelRefused, ModelServer, TritonLost
from visionyard.inference.options import Options
from visionyard.inference.reconciler import Reconciler
from visionyard.inference.serving import Alias, ServedModel, ServingTable
from visionyard.kit.artifacts.exported import Artifact
from visionyard.kit.errors import Code, Reason, YardError, invalid_field
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.vision.decode import decode_image
from visionyard.kit.vision.letterbox import Fit, letterbox, plan
from visionyard.kit.vision.nms import Candidates, Detections, detect

MAX_BATCH_IMAGES = 64
_INLINE_CANDIDATES = 128
_RETRY_AFTER_S = 2.0
_PAUSE_S = 0.05
_SPARE_S = 0.2
# Each is a death of Triton or of a model's process; an image that causes them must not cause many.
_BROKEN_RETRIES = 5


@dataclass(frozen=True)
class Limits:
    """What is taken.

    Attributes:
        image_bytes: The largest image file, in bytes.
        image_pixels: The most pixels of a decoded image.
        waiting: At most so many images taken in at once; more are refused.
        under_way: At most so many of them decoded or in Triton at once; the others wait as files.
        patience_s: How long a request waits for a deployment that is loading or for Triton, in seconds, its deadline allowing.
    """

    image_bytes: int
    image_pixels: int
    waiting: int
    under_way: int
    patience_s: float


@dataclass(frozen=True)
class Prediction:
    """What was found in an image.

    Attributes:
        detections: The boxes (FP32 [M, 4], x1 y1 x2 y2 in pixels of the decoded image), scores and classes, surest first.
        class_names: The model's, in the order of their ids.
        width_px: The decoded image's width.
        height_px: Its height.
        served_version: The model version that answered.
        decode_ms: Decoding and letterboxing, waiting for a thread included.
        queue_ms: Waiting for the model: for its turn here, and in and on the way to Triton.
        compute_ms: The model; where its backend does not tell how long it ran, the whole call to Triton.
        total_ms: All of it.
    """

    detections: Detections
    class_names: Sequence[str]
    width_px: int
    height_px: int
    served_version: VersionName
    decode_ms: float
    queue_ms: float
    compute_ms: float
    total_ms: float


@dataclass(frozen=True)
class _Prepared:
    """An image as a model takes it: UINT8 [1, H, W, 3]."""

    images: NDArray[np.uint8]
    fit: Fit


@dataclass
class _Clock:
    """Where one image's time goes, in seconds."""

    arrival: float
    decode: float = 0.0
    call: float = 0.0
    post: float = 0.0


class Predictor:
    """Answers predictions. Lives on one event loop.

    Args:
        table: Who serves.
        reconciler: Told of lost models, asked for unknown deployments.
        triton: Triton.
        threads: Where images are decoded.
        limits: What is taken.
        metrics: Counts.
    """

    def __init__(
        self, table: ServingTable, reconciler: Reconciler, triton: ModelServer, threads: Executor, limits: Limits, metrics: Metrics
    ) -> None:
        self._table = table
        self._reconciler = reconciler
        self._triton = triton
        self._threads = threads
        self._limits = limits
        self._metrics = metrics
        self._turn = asyncio.Semaphore(limits.under_way)
        self._waiting = 0

    async def predict(self, name: ResourceName, image: bytes, options: Options, remaining_s: float) -> Prediction:
        """Predicts on one image.

        Args:
            name: The deployment.
            image: A JPEG or PNG file.
            options: Thresholds and limits.
            remaining_s: How long the caller waits, in seconds.

        Raises:
            YardError: DEPLOYMENT_NOT_FOUND, DEPLOYMENT_NOT_READY, INVALID_FIELD, IMAGE_UNREADABLE, IMAGE_TOO_LARGE, REQUEST_TOO_LARGE,
                OVERLOADED, TRITON_UNAVAILABLE, DEADLINE_EXCEEDED.
            StoreUnavailable: the deployment is not known here and the store does not answer.
        """
        arrival = time.monotonic()
        with self._taken_in(1):
            await self._known(name, options, arrival + remaining_s)
            return await self._one(name, image, options, arrival, arrival + remaining_s)

    async def predict_batch(
        self, name: ResourceName, images: Sequence[bytes], options: Options, remaining_s: float
    ) -> list[Prediction | YardError]:
        """Predicts on several images; an image's own error stands in its place.

        Args:
            name: The deployment.
            images: JPEG or PNG files, 1 to 64.
            options: Thresholds and limits for all of them.
            remaining_s: How long the caller waits, in seconds.

        Raises:
            YardError: as :meth:`predict`, where the error is not an image's own.
            StoreUnavailable: as :meth:`predict`.
        """
        arrival = time.monotonic()
        deadline = arrival + remaining_s
        if not 1 <= len(images) <= MAX_BATCH_IMAGES:
            raise invalid_field("images", f"must be 1 to {MAX_BATCH_IMAGES}, but are {len(images)}")
        with self._taken_in(len(images)):
            await self._known(name, options, deadline)
            answers: list[Prediction | YardError] = []
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._item(name, image, options, arrival, deadline)) for image in images]
            except* YardError as errors:
                raise _first(errors) from None
            answers.extend(task.result() for task in tasks)
            return answers

    async def _item(self, name: ResourceName, image: bytes, options: Options, arrival: float, deadline: float) -> Prediction | YardError:
        try:
            return await self._one(name, image, options, arrival, deadline)
        except YardError as error:
            if error.reason in _IMAGES_OWN:
                return error
            raise

    @contextlib.contextmanager
    def _taken_in(self, count: int) -> Iterator[None]:
        if self._waiting + count > self._limits.waiting:
            self._metrics.image("refused")
            raise YardError(
                Reason.OVERLOADED,
                f"the server has {self._waiting} images waiting, of the {self._limits.waiting} that it takes: try again in a moment",
                retry_after_s=1.0,
            )
        self._waiting += count
        self._metrics.under_way(self._waiting)
        try:
            yield
        finally:
            self._waiting -= count
            self._metrics.under_way(self._waiting)

    async def _known(self, name: ResourceName, options: Options, deadline: float) -> None:
        """Checks what can be checked before an image is looked at."""
        served = await self._serving(name, self._give_up(deadline))
        options.check_classes(len(served.artifact.class_names))

    async def _one(self, name: ResourceName, image: bytes, options: Options, arrival: float, deadline: float) -> Prediction:
        clock = _Clock(arrival)
        try:
            self._check_file(image)
            async with asyncio.timeout(max(deadline - time.monotonic(), 0)), self._turn:
                served, prepared, inference = await self._infer(name, image, deadline, clock)
                begin = time.monotonic()
                detections = await self._detect(served.artifact, inference.candidates, options)
                clock.post = time.monotonic() - begin
        except TimeoutError:
            self._metrics.image("failed")
            raise YardError(Reason.DEADLINE_EXCEEDED, "the deadline passed before the image was answered: allow more time") from None
        except YardError as error:
            self._metrics.image("failed" if error.reason.code in _OURS else "refused")
            raise
        self._metrics.image("answered")
        return self._prediction(served, prepared.fit, detections, inference, clock)

    def _prediction(self, served: ServedModel, fit: Fit, detections: Detections, inference: Inference, clock: _Clock) -> Prediction:
        total = time.monotonic() - clock.arrival
        compute_ms = inference.compute_ms if inference.compute_ms is not None else clock.call * 1000
        decode_ms = clock.decode * 1000
        queue_ms = max((total - clock.decode - clock.post) * 1000 - compute_ms, 0.0)
        self._metrics.phases(decode_ms, queue_ms, compute_ms)
        boxes = fit.boxes_to_image(detections.boxes)
        return Prediction(
            detections=Detections(boxes, detections.scores, detections.classes, detections.truncated),
            class_names=served.artifact.class_names,
            width_px=fit.image_width,
            height_px=fit.image_height,
            served_version=served.artifact.name.version,
            decode_ms=decode_ms,
            queue_ms=queue_ms,
            compute_ms=compute_ms,
            total_ms=total * 1000,
        )

    def _check_file(self, image: bytes) -> None:
        if not image:
            raise invalid_field("image", "is empty: send a JPEG or PNG file's bytes")
        if len(image) > self._limits.image_bytes:
            limit = self._limits.image_bytes
            raise YardError(
                Reason.REQUEST_TOO_LARGE,
                f"the image has {len(image)} bytes, more than the {limit} that are taken: send it smaller",
                {"limit_bytes": str(limit)},
            )

    async def _infer(self, name: ResourceName, image: bytes, deadline: float, clock: _Clock) -> tuple[ServedModel, _Prepared, Inference]:
        """Prepares the image for the model that serves and runs it, again where the model was lost on the way."""
        give_up = self._give_up(deadline)
        prepared: _Prepared | None = None
        prepared_for: ServedModel | None = None
        loop = asyncio.get_running_loop()
        broken = 0
        while True:
            served = await self._serving(name, give_up)
            with served.in_use():
                if prepared is None or prepared_for is not served:
                    begin = time.monotonic()
                    prepared = await loop.run_in_executor(self._threads, _prepare, image, served, self._limits.image_pixels)
                    prepared_for = served
                    clock.decode += time.monotonic() - begin
                begin, loads = time.monotonic(), served.loads
                try:
                    inference = await self._run(served, prepared, give_up, deadline)
                except TritonLost as error:
                    self._reconciler.lost(served, loads, broken=isinstance(error, ModelBroken))
                    broken += 1
                    if broken > _BROKEN_RETRIES:
                        raise self._triton.unavailable() from None
                except ModelRefused as error:
                    raise YardError(Reason.INTERNAL, "the model failed on this image: look at the inference service's log") from error
                else:
                    clock.call = time.monotonic() - begin
                    return served, prepared, inference
            await asyncio.sleep(_PAUSE_S)

    async def _run(self, served: ServedModel, prepared: _Prepared, give_up: float, deadline: float) -> Inference:
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

    async def _detect(self, artifact: Artifact, candidates: Candidates, options: Options) -> Detections:
        """Suppression: at once where few candidates are above the confidence, in a thread where it would hold up the event loop."""
        above = int(np.count_nonzero(candidates.scores > np.float32(options.confidence)))
        if above <= _INLINE_CANDIDATES:
            return _suppress(artifact, candidates, options)
        return await asyncio.get_running_loop().run_in_executor(self._threads, _suppress, artifact, candidates, options)

    def _give_up(self, deadline: float) -> float:
        """Until when to wait for a model: a little before the deadline, so that the caller learns why."""
        return min(deadline - _SPARE_S, time.monotonic() + self._limits.patience_s)

    async def _serving(self, name: ResourceName, give_up: float) -> ServedModel:
        """The model that answers now, waited for until `give_up` while it is loading or Triton is coming back.

        Raises:
            YardError: DEPLOYMENT_NOT_FOUND, DEPLOYMENT_NOT_READY or TRITON_UNAVAILABLE.
        """
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


_IMAGES_OWN = frozenset({Reason.IMAGE_UNREADABLE, Reason.IMAGE_TOO_LARGE, Reason.REQUEST_TOO_LARGE, Reason.INVALID_FIELD})
_OURS = frozenset({Code.INTERNAL, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED})


def _prepare(image: bytes, served: ServedModel, limit_pixels: int) -> _Prepared:
    pixels = decode_image(image, limit_pixels)
    height, width = pixels.shape[:2]
    fit = plan(width, height, served.artifact.image_size_px, served.artifact.stride_px, served.letterbox)
    return _Prepared(letterbox(pixels, fit)[None], fit)


def _suppress(artifact: Artifact, candidates: Candidates, options: Options) -> Detections:
    return detect(
        candidates,
        confidence=options.confidence,
        iou=options.iou,
        class_ids=options.class_ids,
        max_detections=options.max_detections,
        nms_applied=artifact.nms_applied,
    )


def _first(errors: BaseExceptionGroup[YardError]) -> YardError:
    """The first error of a group, however deep it lies."""
    inner = errors.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner


async def _first_of(*waits: object) -> None:
    """Returns when the first of several waits is over; the others are cancelled."""
    tasks = [asyncio.ensure_future(wait) for wait in waits]  # type: ignore[call-overload]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
