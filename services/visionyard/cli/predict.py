"""``yard predict``: many images, several in flight, an answer a line in the order given."""

from __future__ import annotations

import asyncio
import difflib
import itertools
from collections import Counter, deque
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from visionyard.cli import output
from visionyard.cli.options import AsJson, Directory
from visionyard.cli.progress import Step
from visionyard.cli.session import Session, run
from visionyard.client.errors import ClientError, NoServer, from_yard_error, local
from visionyard.client.predictions import too_large
from visionyard.client.transport import MESSAGE_BYTES
from visionyard.inference.v1 import prediction_service_pb2
from visionyard.kit.errors import Reason, YardError

_IN_FLIGHT = 8
"""Enough to keep decoding, queue and model busy; the service bounds its own queue."""
_WHOLE = frozenset(
    reason.name
    for reason in (Reason.DEPLOYMENT_NOT_FOUND, Reason.DEPLOYMENT_NOT_READY, Reason.TRITON_UNAVAILABLE, Reason.STORE_UNAVAILABLE)
)
"""Reasons that concern the deployment or the server, not an image; of a server that is away they come after a minute's patience."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for each image.

    Attributes:
        deployment: Which.
        confidence: None: the service's default; so for all others.
        iou: See there.
        class_ids: Empty: all.
        max_detections: See there.
    """

    deployment: str
    confidence: float | None
    iou: float | None
    class_ids: tuple[int, ...]
    max_detections: int | None


@dataclass(frozen=True)
class Answer:
    """What came of one image.

    Attributes:
        image: As it was given.
        data: The file's bytes; empty where it could not be read.
        prediction: What was found; None where something went wrong.
        error: What went wrong.
    """

    image: str
    data: bytes = b""
    prediction: prediction_service_pb2.Prediction | None = None
    error: ClientError | None = None


def predict(
    deployment: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Who predicts.")],
    images: Annotated[list[str], typer.Argument(metavar="IMAGE...", help="JPEG or PNG files; sent as they are.")],
    conf: Annotated[
        float | None, typer.Option("--conf", min=0, max=1, help="Only detections above this confidence; 0.25 unless given.")
    ] = None,
    iou: Annotated[
        float | None, typer.Option("--iou", min=0, max=1, help="Of two boxes that overlap more, only the surer one; 0.7 unless given.")
    ] = None,
    classes: Annotated[str, typer.Option("--classes", metavar="A,B", help="Only these classes, by name or id.")] = "",
    max_det: Annotated[
        int | None, typer.Option("--max-det", min=1, max=1000, help="At most so many detections an image; 300 unless given.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option("--save", metavar="DIR", help="Write the pictures with their boxes drawn, as DIR/<name>.jpg.")
    ] = None,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Predict on images. Exits 1 where an image could not be predicted; with --json one line an image."""

    async def work(session: Session) -> None:
        found = await session.client.deployments.get(deployment)
        ids = class_ids(classes, found.class_names) if classes else ()
        wanted = Wanted(deployment, conf, iou, ids, max_det)
        target = _Saver(save.expanduser()) if save else None
        failed: list[ClientError] = []
        done = 0
        async for answer in _answers(session, wanted, images):
            done += 1
            if target and answer.prediction is not None:
                problem = await asyncio.to_thread(target.save, answer.image, answer.data, answer.prediction)
                answer = Answer(answer.image, error=problem) if problem else answer  # noqa: PLW2901 - or why it could not be drawn
            if answer.error is not None:
                failed.append(answer.error)
            _write(session, answer)
            session.progress.update(Step("predicting", done, len(images), "images"))
        if failed:
            raise ClientError(
                failed[0].code,
                failed[0].reason,
                f"{len(failed)} of {len(images)} images could not be predicted; the first: {failed[0].message}",
                {"failed": str(len(failed)), "images": str(len(images))},
            )

    run(work, as_json=as_json, directory=directory)


def class_ids(text: str, names: Sequence[str]) -> tuple[int, ...]:
    """The ids of classes given by name or id.

    Raises:
        ClientError: INVALID_ARGUMENT (INVALID_FIELD): the model has no such class.
    """
    ids: list[int] = []
    for word in (part.strip() for part in text.split(",")):
        if word in names:
            ids.append(list(names).index(word))
        elif word.isdecimal() and int(word) < len(names):
            ids.append(int(word))
        else:
            near = difflib.get_close_matches(word, names, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(names)}"[:200]
            raise local(Reason.INVALID_FIELD, f"the model has no class {word!r}; {hint}", {"field": "classes"})
    return tuple(dict.fromkeys(ids))


async def _answers(session: Session, wanted: Wanted, images: Sequence[str]) -> AsyncIterator[Answer]:
    """The answers in the images' order, a bounded number of them in flight.

    Raises:
        ClientError: what concerns the deployment or the server, not one image.
    """
    waiting = deque(images)
    tasks: deque[asyncio.Task[Answer]] = deque()
    try:
        while waiting or tasks:
            while waiting and len(tasks) < _IN_FLIGHT:
                tasks.append(asyncio.create_task(_answer(session, wanted, waiting.popleft())))
            answer = await tasks[0]
            tasks.popleft()
            yield answer
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _answer(session: Session, wanted: Wanted, image: str) -> Answer:
    try:
        data = await asyncio.to_thread(_read, Path(image))
    except ClientError as error:
        return Answer(image, error=error)
    try:
        prediction = await session.client.predictions.predict(
            wanted.deployment,
            data,
            confidence=wanted.confidence,
            iou=wanted.iou,
            class_ids=wanted.class_ids,
            max_detections=wanted.max_detections,
        )
    except ClientError as error:
        if isinstance(error, NoServer) or error.reason in _WHOLE:
            raise
        return Answer(image, data, error=error)
    return Answer(image, data, prediction)


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MESSAGE_BYTES // 2:
            raise too_large(size)
        return path.read_bytes()
    except OSError as error:
        raise local(Reason.FILE_NOT_FOUND, f"cannot read {path}: {error.strerror or error}", {"path": str(path)}) from error


def _write(session: Session, answer: Answer) -> None:
    if session.as_json:
        if answer.error is not None:
            output.write_json({"image": answer.image, "error": answer.error.to_json()}, line=True)
        elif answer.prediction is not None:
            output.write_json({"image": answer.image, "prediction": output.message_json(answer.prediction)}, line=True)
    elif answer.error is not None:
        output.write(f"{output.plain(answer.image)}: error: {output.plain(answer.error.message)}")
    elif answer.prediction is not None:
        output.write(f"{output.plain(answer.image)}: {summary(answer.prediction)}")


def summary(prediction: prediction_service_pb2.Prediction) -> str:
    """``4 person, 1 bus (1080x810, 57 ms)``."""
    counts = Counter(detection.class_name for detection in prediction.detection.detections)
    found = ", ".join(f"{count} {output.plain(name)}" for name, count in counts.most_common()) or "nothing"
    return f"{found} ({prediction.image_width_px}x{prediction.image_height_px}, {prediction.timings.total_ms:.0f} ms)"


class _Saver:
    """Writes pictures with boxes; two of one name get different ones."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._taken: set[str] = set()

    def _free(self, stem: str) -> str:
        """A name that no picture of this run has, also where the file system does not tell capitals apart."""
        names = itertools.chain([f"{stem}.jpg"], (f"{stem}-{number}.jpg" for number in itertools.count(2)))
        name = next(name for name in names if name.lower() not in self._taken)
        self._taken.add(name.lower())
        return name

    def save(self, image: str, data: bytes, prediction: prediction_service_pb2.Prediction) -> ClientError | None:
        """Writes one; what went wrong, or None."""
        from visionyard.cli.drawing import draw  # noqa: PLC0415 - OpenCV is loaded only where something is drawn

        name = self._free(Path(image).stem)
        try:
            picture = draw(data, prediction)
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / name).write_bytes(picture)
        except YardError as error:
            return from_yard_error(error)
        except OSError as error:
            return local(Reason.INVALID_FIELD, f"cannot write {self._folder / name}: {error.strerror or error}", {"field": "save"})
        return None
