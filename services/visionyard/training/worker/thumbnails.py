"""Small pictures of those on which a model is most wrong; what is wrong is drawn over them by whoever shows them."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from visionyard.kit.errors import YardError
from visionyard.kit.vision.decode import decode_image

_log = logging.getLogger(__name__)
MAX_THUMBNAILS = 100
SIDE_PX = 320
_QUALITY = 80


def write_thumbnails(document: dict[str, Any], files: Mapping[str, Path], target: Path) -> None:
    """Makes JPEG files of at most 100 pictures of a findings' document, the first ones, and notes their names there as ``thumbnail``.

    They come into one ZIP file, since a job's document lists its files and is read often. A picture that cannot be read goes without: a report is no reason for a
    training to fail.

    Args:
        document: See :mod:`visionyard.training.reports.findings`; it is also told of widths and heights that it does not know (``classify``).
        files: Where the pictures lie, by name.
        target: The ZIP file.
    """
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for number, entry in enumerate(document["images"][:MAX_THUMBNAILS], 1):
            try:
                picture = decode_image(files[entry["image"]].read_bytes())
            except (OSError, YardError) as error:
                _log.warning("no thumbnail of %s: %s", entry["image"], error)
                continue
            entry["height_px"], entry["width_px"] = picture.shape[:2]
            entry["thumbnail"] = f"{number:04d}.jpg"
            archive.writestr(zipfile.ZipInfo(entry["thumbnail"]), _small(picture))


def _small(picture: NDArray[np.uint8]) -> bytes:
    """A JPEG file of a picture, its longer side at most 320 pixels."""
    height, width = picture.shape[:2]
    scale = min(1.0, SIDE_PX / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    canvas = np.ascontiguousarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA)[:, :, ::-1], dtype=np.uint8)
    _, encoded = cv2.imencode(".jpg", canvas, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return bytes(encoded.tobytes())
