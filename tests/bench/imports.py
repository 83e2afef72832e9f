"""Images imported per second: a generated YOLO archive of JPEGs of 640 x 480."""

from __future__ import annotations

import zipfile
from pathlib import Path

import cv2
import numpy as np
from stack import Stack, say, timed

IMAGES = 1000


def archive(path: Path, images: int = IMAGES) -> int:
    """Writes the archive; its size in bytes. The pictures are smooth noise, so that they compress about as photos do."""
    random = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("data.yaml", "train: images\nnames: [a, b, c]\n")
        for index in range(images):
            coarse = random.integers(0, 255, (60, 80, 3), dtype=np.uint8)
            picture = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
            picture = cv2.add(picture, random.integers(0, 24, picture.shape, dtype=np.uint8))
            out.writestr(f"images/{index:05d}.jpg", cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())
            rows = [f"{random.integers(3)} {x:.4f} {y:.4f} 0.1 0.1" for x, y in random.uniform(0.1, 0.9, (8, 2))]
            out.writestr(f"labels/{index:05d}.txt", "\n".join(rows))
    return path.stat().st_size


def measure(stack: Stack, folder: Path) -> None:
    """Imports the archive once and prints images and bytes per second, the upload included."""
    size = archive(folder / "bench.zip")
    seconds: list[float] = []
    with timed(seconds):
        stack.yard("dataset", "import", folder / "bench.zip", "--name", "bench")
    say(
        f"import     {IMAGES} images of 640x480, {size / 1e6:.0f} MB: {seconds[0]:.1f} s, {IMAGES / seconds[0]:.0f} images/s, {size / 1e6 / seconds[0]:.0f} MB/s"
    )
