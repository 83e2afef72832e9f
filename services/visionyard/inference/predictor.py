"""From an image file's bytes to boxes in its own pixels.

Decoding and letterboxing run in a few threads (OpenCV and libjpeg let go of the interpreter's lock), Triton runs the graph, and suppression looks
only at what is above the confidence.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from visionyard.inference.metrics import Metrics
from visionyard.inference.options import Options
from visionyard.inference.runner import Run, Runner
from visionyard.kit.artifacts.exported import Artifact
from visionyard.kit.errors import Code, Reason, YardError, invalid_field
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.vision.nms import Candidates, Detections, detect

MAX_BATCH_IMAGES = 64
_INLINE_CANDIDATES = 128


@dataclass(frozen=True)
class Limits:
    """What is taken.

    Attributes:
        image_bytes: The largest image file, in bytes.
        waiting: At most so many images taken in at once; more are refused.
        under_way: At most so many of them decoded or in Triton at once; the others wait as files.
    """

    image_bytes: int
    waiting: int
    under_way: int


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


class Predictor:
    """Answers predictions. Lives on one event loop.

    Args:
        runner: Runs images through models.
        threads: Where long suppressions run.
        limits: What is taken.
        metrics: Counts.
    """

    def __init__(self, runner: Runner, threads: Executor, limits: Limits, metrics: Metrics) -> None:
        self._runner = runner
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
        served = await self._runner.serving(name, deadline)
        options.check_classes(len(served.artifact.class_names))

    async def _one(self, name: ResourceName, image: bytes, options: Options, arrival: float, deadline: float) -> Prediction:
        try:
            self._check_file(image)
            async with asyncio.timeout(max(deadline - time.monotonic(), 0)), self._turn:
                run = await self._runner.run(name, image, deadline)
                begin = time.monotonic()
                detections = await self._detect(run.served.artifact, run.inference.candidates, options)
                end = time.monotonic()
        except TimeoutError:
            self._metrics.image("failed")
            raise YardError(Reason.DEADLINE_EXCEEDED, "the deadline passed before the image was answered: allow more time") from None
        except YardError as error:
            self._metrics.image("failed" if error.reason.code in _OURS else "refused")
            raise
        self._metrics.image("answered")
        return self._prediction(run, detections, total_ms=(end - arrival) * 1000, detect_ms=(end - begin) * 1000)

    def _prediction(self, run: Run, detections: Detections, total_ms: float, detect_ms: float) -> Prediction:
        compute_ms = run.inference.compute_ms if run.inference.compute_ms is not None else run.call_s * 1000
        decode_ms = run.decode_s * 1000
        queue_ms = max(total_ms - decode_ms - detect_ms - compute_ms, 0.0)
        self._metrics.phases(decode_ms, queue_ms, compute_ms)
        artifact, fit = run.served.artifact, run.fit
        boxes = fit.boxes_to_image(detections.boxes)
        return Prediction(
            detections=Detections(boxes, detections.scores, detections.classes, detections.truncated),
            class_names=artifact.class_names,
            width_px=fit.image_width,
            height_px=fit.image_height,
            served_version=artifact.name.version,
            decode_ms=decode_ms,
            queue_ms=queue_ms,
            compute_ms=compute_ms,
            total_ms=total_ms,
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

    async def _detect(self, artifact: Artifact, candidates: Candidates, options: Options) -> Detections:
        """Suppression: at once where few candidates are above the confidence, in a thread where it would hold up the event loop."""
        above = int(np.count_nonzero(candidates.scores > np.float32(options.confidence)))
        if above <= _INLINE_CANDIDATES:
            return _suppress(artifact, candidates, options)
        return await asyncio.get_running_loop().run_in_executor(self._threads, _suppress, artifact, candidates, options)


_IMAGES_OWN = frozenset({Reason.IMAGE_UNREADABLE, Reason.IMAGE_TOO_LARGE, Reason.REQUEST_TOO_LARGE, Reason.INVALID_FIELD})
_OURS = frozenset({Code.INTERNAL, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED})


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
