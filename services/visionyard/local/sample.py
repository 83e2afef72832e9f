"""A generated detection dataset in the YOLO layout: shapes on photo-like noise. Small enough to train on in minutes, hard enough that a model must learn.

The same seed gives the same files, byte by byte, with the same versions of NumPy and OpenCV.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Outline = npt.NDArray[np.int32]
SPLITS = {"train": 0.7, "val": 0.2, "test": 0.1}
"""Shares of the splits."""
_WIDTH, _HEIGHT = 320, 256
_MAX_OBJECTS = 3
_TRIES = 40
_MIN_RADIUS, _MAX_RADIUS = 0.13, 0.22
_MIN_IMAGES = 10


@dataclass(frozen=True)
class Box:
    """A labelled box.

    Attributes:
        class_id: Index into ``CLASSES``.
        x1: Left edge in pixels.
        y1: Top edge in pixels.
        x2: Right edge in pixels.
        y2: Bottom edge in pixels.
    """

    class_id: int
    x1: float
    y1: float
    x2: float
    y2: float

    def line(self, width: int, height: int) -> str:
        """The line of a YOLO label file: class, centre and size, relative to the image."""
        centre = ((self.x1 + self.x2) / 2 / width, (self.y1 + self.y2) / 2 / height)
        size = ((self.x2 - self.x1) / width, (self.y2 - self.y1) / height)
        return f"{self.class_id} {centre[0]:.6f} {centre[1]:.6f} {size[0]:.6f} {size[1]:.6f}"


def _polygon(corners: int, inner: float = 1.0) -> npt.NDArray[np.float64]:
    """Corners on the unit circle; every second one at ``inner`` makes a star."""
    angles = np.arange(corners) * 2 * np.pi / corners - np.pi / 2
    radii = np.where(np.arange(corners) % 2 == 0, 1.0, inner)
    return np.stack([np.cos(angles) * radii, np.sin(angles) * radii], axis=1)


_SHAPES: dict[str, npt.NDArray[np.float64]] = {
    "disc": _polygon(48),
    "square": _polygon(4),
    "triangle": _polygon(3),
    "star": _polygon(10, 0.42),
}
_HUES: dict[str, int] = {"disc": 2, "square": 112, "triangle": 58, "star": 27}
"""OpenCV's hue, 0 to 179: each class leans towards a colour, as things do."""
CLASSES = tuple(_SHAPES)
"""The class names; the index is the class id."""


def _background(rng: np.random.Generator, width: int, height: int) -> Image:
    """Clouds of several scales in muted colours, and a gradient of light."""
    total = np.zeros((height, width, 3), np.float32)
    for cells, weight in ((3, 38.0), (8, 20.0), (30, 9.0)):
        coarse = rng.normal(0, weight, (cells, cells, 3)).astype(np.float32)
        total += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grey = total.mean(axis=2, keepdims=True)
    light = np.linspace(-18, 18, height, dtype=np.float32)[:, None, None] * rng.choice([-1, 1])
    shades = rng.uniform(90, 150) + grey + (total - grey) * 0.35 + light
    return np.asarray(np.clip(shades, 0, 255), np.uint8)


def _outline(rng: np.random.Generator, name: str, radius: float, centre: tuple[float, float]) -> npt.NDArray[np.float64]:
    turn = rng.uniform(-0.35, 0.35)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.asarray(_SHAPES[name] @ rotation.T * radius * rng.uniform(0.9, 1.1, 2) + np.array(centre))


def _paint(rng: np.random.Generator, picture: Image, outline: npt.NDArray[np.float64], hue: int) -> None:
    """Fills an outline with a shaded, textured colour over a soft shadow."""
    height, width = picture.shape[:2]
    points: Outline = np.round(outline * 16).astype(np.int32)  # OpenCV draws at 1/16 of a pixel with shift=4
    shadow = np.zeros((height, width), np.uint8)
    cv2.fillPoly(shadow, [points + 5 * 16], 255, cv2.LINE_AA, 4)
    shade = 1 - cv2.GaussianBlur(shadow, (0, 0), 4).astype(np.float32)[..., None] / 255 * 0.35
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [points], 255, cv2.LINE_AA, 4)
    alpha = mask.astype(np.float32)[..., None] / 255
    colour = np.array([[[(hue + rng.integers(-7, 8)) % 180, rng.integers(130, 235), rng.integers(130, 235)]]], np.uint8)
    flat = cv2.cvtColor(colour, cv2.COLOR_HSV2BGR).astype(np.float32)
    light = 1 + np.linspace(-0.2, 0.2, width, dtype=np.float32)[None, :, None] * rng.choice([-1, 1])
    texture = cv2.resize(rng.normal(0, 9, (height // 6, width // 6)).astype(np.float32), (width, height))[..., None]
    picture[:] = np.clip(picture * shade * (1 - alpha) + (flat * light + texture) * alpha, 0, 255).astype(np.uint8)


def _room(boxes: list[Box], new: Box) -> bool:
    """Whether ``new`` lies apart from all others."""
    return all(new.x1 > b.x2 or new.x2 < b.x1 or new.y1 > b.y2 or new.y2 < b.y1 for b in boxes)


def picture(rng: np.random.Generator, width: int = _WIDTH, height: int = _HEIGHT) -> tuple[Image, list[Box]]:
    """One picture and its boxes.

    Returns:
        ``uint8 [height, width, 3]`` in BGR, and 1 to 3 boxes that lie inside it and apart from each other.
    """
    canvas = _background(rng, width, height)
    boxes: list[Box] = []
    wanted = int(rng.integers(1, _MAX_OBJECTS + 1))
    for _ in range(_TRIES):
        if len(boxes) == wanted:
            break
        class_id = int(rng.integers(len(CLASSES)))
        radius = rng.uniform(_MIN_RADIUS, _MAX_RADIUS) * height
        centre = (rng.uniform(radius * 1.2, width - radius * 1.2), rng.uniform(radius * 1.2, height - radius * 1.2))
        outline = _outline(rng, CLASSES[class_id], radius, centre)
        (x1, y1), (x2, y2) = np.clip(outline.min(axis=0), 0, None), np.minimum(outline.max(axis=0), (width, height))
        box = Box(class_id, float(x1), float(y1), float(x2), float(y2))
        if _room(boxes, box):
            _paint(rng, canvas, outline, _HUES[CLASSES[class_id]])
            boxes.append(box)
    noisy = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.4, 0.9)).astype(np.float32) + rng.normal(0, rng.uniform(2, 7), canvas.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), boxes


def split_counts(images: int) -> dict[str, int]:
    """How many pictures each split gets; every one at least one."""
    test = max(1, round(images * SPLITS["test"]))
    val = max(1, round(images * SPLITS["val"]))
    return {"train": images - val - test, "val": val, "test": test}


def generate(directory: Path, images: int = 160, seed: int = 0, on_image: Callable[[int, int], None] | None = None) -> dict[str, int]:
    """Writes a dataset: images/{split}/*.jpg, labels/{split}/*.txt and data.yaml.

    Args:
        directory: Where to; made where it is missing.
        images: How many pictures, at least 10.
        seed: Another seed gives other pictures of the same kind.
        on_image: Called with (done, images) after each.

    Returns:
        The number of pictures in each split.

    Raises:
        ValueError: too few images.
        FileExistsError: the directory holds something already.
    """
    if images < _MIN_IMAGES:
        raise ValueError(f"a sample needs at least {_MIN_IMAGES} images, not {images}")
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise FileExistsError(f"{directory} is not empty: name a new folder")
    counts = split_counts(images)
    done = 0
    for split, count in counts.items():
        for kind in ("images", "labels"):
            (directory / kind / split).mkdir(parents=True)
        for _ in range(count):
            rng = np.random.default_rng([seed, done])
            pixels, boxes = picture(rng)
            name = f"{split}_{done:05d}"
            _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(82, 95))])
            (directory / "images" / split / f"{name}.jpg").write_bytes(encoded.tobytes())
            lines = "".join(box.line(pixels.shape[1], pixels.shape[0]) + "\n" for box in boxes)
            (directory / "labels" / split / f"{name}.txt").write_text(lines, encoding="utf-8")
            done += 1
            if on_image is not None:
                on_image(done, images)
    names = "".join(f"  {index}: {name}\n" for index, name in enumerate(CLASSES))
    splits = "".join(f"{split}: images/{split}\n" for split in counts)
    (directory / "data.yaml").write_text(f"{splits}names:\n{names}", encoding="utf-8")
    return counts
