"""Generated data sets: pictures that compress and decode about as photographs do, with boxes, as Pascal VOC and as COCO. The same on every machine."""

from __future__ import annotations

import io
import json
import os
import tarfile
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

WIDTH, HEIGHT = 640, 480
CLASSES = ("bicycle", "bottle", "car", "chair", "dog", "person")
"""Names of Pascal VOC's own, which Datumaro takes without a list of labels."""
_SEED = 20261121
_QUALITY = 70
Boxes = list[tuple[int, int, int, int, int]]
"""Class, left, top, right, bottom."""


def photo(index: int, seed: int = _SEED) -> tuple[bytes, Boxes]:
    """One JPEG of about 22 kB and its boxes, in size and in the time of decoding as those of BCCD, a real set of this picture size (21 kB).

    Noise of 1/f spectrum with some grain, as photographs have it (D. J. Field, J. Opt. Soc. Am. A 4, 1987).
    """
    random = np.random.default_rng([seed, index])
    picture = np.full((HEIGHT, WIDTH, 3), 128, dtype=np.float32)
    for cells in (2, 4, 8, 16, 32, 64):
        coarse = random.normal(0, 120 / cells**0.8, (cells * 3 // 4 + 1, cells, 3)).astype(np.float32)
        picture += cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    picture += cv2.resize(random.normal(0, 3, (HEIGHT // 2, WIDTH // 2)).astype(np.float32), (WIDTH, HEIGHT))[:, :, None]
    picture += random.normal(0, 1, (HEIGHT, WIDTH, 1)).astype(np.float32)
    encoded = cv2.imencode(".jpg", np.clip(picture, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1]
    boxes: Boxes = []
    for _ in range(int(random.integers(3, 8))):
        width, height = int(random.integers(24, 240)), int(random.integers(24, 200))
        left, top = int(random.integers(0, WIDTH - width)), int(random.integers(0, HEIGHT - height))
        boxes.append((int(random.integers(len(CLASSES))), left, top, left + width, top + height))
    return encoded.tobytes(), boxes


def voc_xml(name: str, boxes: Boxes) -> str:
    """A picture's annotation as labelImg writes it."""
    objects = "".join(
        f"\t<object>\n\t\t<name>{CLASSES[c]}</name>\n\t\t<pose>Unspecified</pose>\n\t\t<truncated>0</truncated>\n\t\t<difficult>0</difficult>\n"
        f"\t\t<bndbox>\n\t\t\t<xmin>{left}</xmin>\n\t\t\t<ymin>{top}</ymin>\n\t\t\t<xmax>{right}</xmax>\n\t\t\t<ymax>{bottom}</ymax>\n\t\t</bndbox>\n\t</object>\n"
        for c, left, top, right, bottom in boxes
    )
    return (
        f"<annotation>\n\t<folder>JPEGImages</folder>\n\t<filename>{name}.jpg</filename>\n\t<size>\n\t\t<width>{WIDTH}</width>\n\t\t<height>{HEIGHT}</height>\n"
        f"\t\t<depth>3</depth>\n\t</size>\n\t<segmented>0</segmented>\n{objects}</annotation>\n"
    )


def voc_folder(folder: Path, images: int, seed: int) -> None:
    """Writes a small set of its own as Pascal VOC, without lists of its splits."""
    for sub in ("JPEGImages", "Annotations"):
        (folder / sub).mkdir(parents=True)
    for index in range(images):
        data, boxes = photo(index, seed)
        name = f"new_{seed}_{index:06d}"
        (folder / "JPEGImages" / f"{name}.jpg").write_bytes(data)
        (folder / "Annotations" / f"{name}.xml").write_text(voc_xml(name, boxes), encoding="utf-8")


def _write(arguments: tuple[Path, int]) -> tuple[int, Boxes]:
    folder, index = arguments
    data, boxes = photo(index)
    name = f"frame_{index:06d}"
    image = folder / "voc" / "JPEGImages" / f"{name}.jpg"
    image.write_bytes(data)
    os.link(image, folder / "coco" / "images" / _split(index) / image.name)
    (folder / "voc" / "Annotations" / f"{name}.xml").write_text(voc_xml(name, boxes), encoding="utf-8")
    return index, boxes


def _split(index: int) -> str:
    return "val" if index % 5 == 4 else "train"


def generate(folder: Path, images: int) -> dict[str, Path]:
    """Writes the set twice below ``folder``; returns the folder of each by its format, ``voc`` and ``coco``."""
    for name in ("voc/JPEGImages", "voc/Annotations", "voc/ImageSets/Main", "coco/images/train", "coco/images/val", "coco/annotations"):
        (folder / name).mkdir(parents=True)
    with get_context("spawn").Pool() as pool:
        rows = sorted(pool.imap_unordered(_write, ((folder, index) for index in range(images)), chunksize=25))
    for split in ("train", "val"):
        members = [(index, boxes) for index, boxes in rows if _split(index) == split]
        lines = "".join(f"frame_{index:06d}\n" for index, _ in members)
        (folder / "voc" / "ImageSets" / "Main" / f"{split}.txt").write_text(lines, encoding="ascii")
        text = json.dumps(_coco(members))
        (folder / "coco" / "annotations" / f"instances_{split}.json").write_text(text, encoding="ascii")
    return {"voc": folder / "voc", "coco": folder / "coco"}


def _coco(members: list[tuple[int, Boxes]]) -> dict[str, object]:
    annotations: list[dict[str, object]] = []
    for index, boxes in members:
        for c, left, top, right, bottom in boxes:
            width, height = right - left, bottom - top
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index + 1,
                    "category_id": c + 1,
                    "bbox": [left, top, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "segmentation": [],
                }
            )
    return {
        "images": [{"id": index + 1, "file_name": f"frame_{index:06d}.jpg", "width": WIDTH, "height": HEIGHT} for index, _ in members],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for number, name in enumerate(CLASSES, start=1)],
    }


def tiny_archive(path: Path, images: int) -> None:
    """A tar of the YOLO layout with pictures of 64 x 64 of about 1 kB, five boxes each: for what grows with the number of images, not with their bytes."""
    random = np.random.default_rng(0)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:

        def add(name: str, data: bytes) -> None:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

        add("data.yaml", b"train: images/train\nval: images/val\nnames: [a, b, c]\n")
        for index in range(images):
            picture = cv2.resize(random.integers(0, 255, (8, 8, 3), dtype=np.uint8), (64, 64), interpolation=cv2.INTER_CUBIC)
            add(f"images/{_split(index)}/{index:07d}.jpg", cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes())
            places = zip(random.integers(0, 3, 5), random.uniform(0.2, 0.8, (5, 2)), strict=True)
            rows = "".join(f"{c} {x:.6f} {y:.6f} 0.2 0.2\n" for c, (x, y) in places)
            add(f"labels/{_split(index)}/{index:07d}.txt", rows.encode())
