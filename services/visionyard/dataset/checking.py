"""Looks at images in threads, while the import goes on reading and takes them in the order in which they came."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from visionyard.dataset.formats.staged import SourceImage
from visionyard.dataset.images import CheckedImage, ImageProblem, check_image
from visionyard.kit.cpus import usable_cpus

_BATCH_IMAGES = 8
_BATCH_BYTES = 2 << 20
_WINDOW_IMAGES = 64
_WINDOW_BYTES = 192 << 20
_MAX_THREADS = 8


class CheckingThreads:
    """Images on their way through the threads, in batches: handing over costs both sides more than a small image's own look.

    Enter it around the work: leaving it ends the threads, and drops what was not begun.

    Args:
        limit_pixels: See :func:`check_image`.
    """

    def __init__(self, limit_pixels: int) -> None:
        self._pool = ThreadPoolExecutor(min(_MAX_THREADS, usable_cpus()), "images")
        self._limit_pixels = limit_pixels
        self._batch: list[tuple[SourceImage, bytes]] = []
        self._batch_bytes = 0
        self._waiting = deque[tuple[list[SourceImage], Future[list[CheckedImage | ImageProblem]], int]]()
        self._waiting_bytes = 0
        self._waiting_images = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def add(self, image: SourceImage, data: bytes) -> Iterator[tuple[SourceImage, CheckedImage | ImageProblem]]:
        """Takes an image; gives those that have to be taken before there is room for more."""
        self._batch.append((image, data))
        self._batch_bytes += len(data)
        if len(self._batch) < _BATCH_IMAGES and self._batch_bytes < _BATCH_BYTES:
            return
        self._send()
        while self._waiting_images > _WINDOW_IMAGES or self._waiting_bytes > _WINDOW_BYTES:
            yield from self._first()

    def rest(self) -> Iterator[tuple[SourceImage, CheckedImage | ImageProblem]]:
        """All that were not given yet."""
        if self._batch:
            self._send()
        while self._waiting:
            yield from self._first()

    def _send(self) -> None:
        images, datas = [image for image, _ in self._batch], [data for _, data in self._batch]
        self._waiting.append((images, self._pool.submit(_check_all, datas, self._limit_pixels), self._batch_bytes))
        self._waiting_images += len(images)
        self._waiting_bytes += self._batch_bytes
        self._batch, self._batch_bytes = [], 0

    def _first(self) -> Iterator[tuple[SourceImage, CheckedImage | ImageProblem]]:
        images, checking, size = self._waiting.popleft()
        yield from zip(images, checking.result(), strict=True)
        self._waiting_images -= len(images)
        self._waiting_bytes -= size


def _check_all(datas: list[bytes], limit_pixels: int) -> list[CheckedImage | ImageProblem]:
    checked: list[CheckedImage | ImageProblem] = []
    for data in datas:
        try:
            checked.append(check_image(data, limit_pixels))
        except ImageProblem as problem:
            checked.append(problem)
    return checked
