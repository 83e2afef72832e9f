"""Generated sources for the kill rounds: pictures heavy enough to be uploaded and stored for seconds, cheap enough to be made by the thousand."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

NAMES = ("car", "bus", "bicycle")
_WIDTH, _HEIGHT = 640, 480
_BOXES = 6
_VAL_EVERY = 5


def write(folder: Path, images: int, seed: int) -> None:
    """Writes a YOLO dataset of JPEGs of 640 x 480 pixels, about 110 KB each, every fifth of them in val; the same seed gives the same bytes.

    Args:
        folder: Where to; made.
        images: How many.
        seed: Another seed, other pictures.
    """
    random = np.random.default_rng(seed)
    for kind in ("images", "labels"):
        for split in ("train", "val"):
            (folder / kind / split).mkdir(parents=True)
    grain = random.integers(0, 24, (_HEIGHT, _WIDTH, 3), dtype=np.uint8)
    for index in range(images):
        split = "val" if index % _VAL_EVERY == 0 else "train"
        coarse = random.integers(0, 255, (_HEIGHT // 8, _WIDTH // 8, 3), dtype=np.uint8)
        picture = cv2.add(cv2.resize(coarse, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC), grain)
        jpeg = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
        name = f"{seed}_{index:05d}"
        (folder / "images" / split / f"{name}.jpg").write_bytes(jpeg)
        rows = [f"{random.integers(len(NAMES))} {x:.6f} {y:.6f} 0.125000 0.125000\n" for x, y in random.uniform(0.1, 0.9, (_BOXES, 2))]
        (folder / "labels" / split / f"{name}.txt").write_text("".join(rows), encoding="utf-8")
    (folder / "data.yaml").write_text(f"train: images/train\nval: images/val\nnames: [{', '.join(NAMES)}]\n", encoding="utf-8")
