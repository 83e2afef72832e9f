"""What ``yard predict --json`` printed, and the images that it names, as something to upload."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import finalize

from visionyard.client.errors import local
from visionyard.client.sources import TarSource
from visionyard.kit.errors import Reason

_MAX_LINE_BYTES = 4 << 20
"""The service reads no longer line."""
_PREDICTIONS = "predictions.jsonl"
_NO_FILE_SUFFIX = ".jpg"
_UNSAFE = str.maketrans({"\\": "_", "?": "_"})
"""What would be taken for a folder's end or a query."""


class PredictionsSource(TarSource):
    """A tar of ``predictions.jsonl`` and ``images/``.

    Each image gets a name of its own, whatever folders the lines name, and its line is written anew with that name: no path of this machine leaves it. Lines that hold no
    prediction are sent as they are, and the service lists them. Images that are not there are named in ``skipped``.

    Args:
        path: The file that ``yard predict --json`` printed; the images it names lie relative to the working directory, or else to its own folder.

    Raises:
        ClientError: NOT_FOUND (FILE_NOT_FOUND) where the file cannot be read or none of its images is there, INVALID_ARGUMENT (NO_LABELS) where no line holds a prediction.
    """

    def __init__(self, path: Path) -> None:
        self._images = _Images(path.parent)
        try:
            with (
                path.open("rb") as lines,
                tempfile.NamedTemporaryFile("wb", prefix="yard-predictions-", suffix=".jsonl", delete=False) as rewritten,
            ):
                # The temporary file lives as long as this source, which reads it again for each try of the upload.
                finalize(self, _delete, rewritten.name)
                for line in _lines(lines):
                    rewritten.write(self._rewritten(line))
        except OSError as error:
            raise local(Reason.FILE_NOT_FOUND, f"cannot read {path}: {error.strerror or error}", {"path": str(path)}) from error
        images = self._images
        if not images.predicted:
            message = f"no line of {path} is an image with its prediction: it must hold what yard predict --json prints"
            raise local(Reason.NO_LABELS, message, {"path": str(path)})
        if not images.files:
            message = f"none of the images that {path} names is there ({images.missing[0]} the first): run from the folder that yard predict ran in"
            raise local(Reason.FILE_NOT_FOUND, message, {"path": images.missing[0]})
        if images.missing:
            what = "an image that is" if len(images.missing) == 1 else f"{len(images.missing)} images that are"
            self.skipped = (f"left out {what} not there, {images.missing[0]} the first",)
        made = Path(rewritten.name)
        super().__init__(f"{path.stem}.tar", [(_PREDICTIONS, made, made.stat().st_size), *images.files])

    def _rewritten(self, line: bytes) -> bytes:
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            return line
        image = document.get("image") if isinstance(document, dict) else None
        if not isinstance(image, str) or not isinstance(document.get("prediction"), dict):
            return line
        document["image"] = self._images.take(image)
        return (json.dumps(document) + "\n").encode()


def _delete(path: str) -> None:
    Path(path).unlink(missing_ok=True)


def _lines(file: Any) -> Iterator[bytes]:
    """The lines of a file; of one that the service would not read only the beginning."""
    while line := file.readline(_MAX_LINE_BYTES + 1):
        begin = line
        while not line.endswith(b"\n") and (line := file.readline(_MAX_LINE_BYTES)):
            pass
        yield begin if begin.endswith(b"\n") else begin + b"\n"


class _Images:
    """The images that were named so far.

    Attributes:
        predicted: How many lines held a prediction.
        files: Path in the tar, where the image is, and its size.
        missing: Those that are not there, as given.
    """

    def __init__(self, folder: Path) -> None:
        self.predicted = 0
        self.files: list[tuple[str, Path, int]] = []
        self.missing: list[str] = []
        self._folder = folder
        self._named: dict[str, str] = {}
        self._taken: dict[str, int] = {}

    def take(self, image: str) -> str:
        """The path in the tar of an image; its own name for one that is not there."""
        self.predicted += 1
        found = self._find(image)
        place = str(found[0].resolve()) if found else image
        if place not in self._named:
            self._named[place] = self._free(Path(image)) if found else Path(image).name
            if found:
                self.files.append((self._named[place], *found))
            else:
                self.missing.append(image)
        return self._named[place]

    def _find(self, image: str) -> tuple[Path, int] | None:
        for path in (Path(image), self._folder / image):
            try:
                status = path.stat()
            except (OSError, ValueError):  # the latter: a name that no file has
                continue
            if stat.S_ISREG(status.st_mode):
                return path, status.st_size
        return None

    def _free(self, image: Path) -> str:
        """A path that no other image has, also where capitals are not told apart or types are left out."""
        name = os.fsencode(image.name).decode("utf-8", "replace").translate(_UNSAFE)
        stem, suffix = Path(name).stem, Path(name).suffix or _NO_FILE_SUFFIX
        number = self._taken.get(stem.lower(), 0)
        while True:
            number += 1
            name = stem if number == 1 else f"{stem}-{number}"
            if number == 1 or name.lower() not in self._taken:
                break
        self._taken[stem.lower()] = number
        self._taken.setdefault(name.lower(), 1)
        return f"images/{name}{suffix}"
