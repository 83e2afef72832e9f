"""A dataset version of generated pictures that a small model learns in seconds: FIELD's recipe of easy shapes."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np

from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.dataset import DatasetClass, DatasetSplit, DatasetVersion, KeypointLayout
from visionyard.kit.artifacts.manifest import Label, ManifestRow, content_digest, encode_manifest, in_order
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.port import ObjectStore

NAMES = ("circle", "square", "triangle")
SIDE_PX = 64
RECIPE = {"nbs": 8, "optimizer": "AdamW", "lr0": 0.003, "warmup_epochs": 1, "mosaic": 0, "amp": False}
"""With Ultralytics' defaults (a nominal batch of 64) so small a set learns nothing."""


_COLOURS = ((255, 40, 40), (40, 255, 40), (40, 40, 255))


def _shape(rng: np.random.Generator, task: str) -> tuple[int, np.ndarray]:
    """A class and the corners of its outline in pixels; for ``obb`` those of a turned rectangle."""
    kind, radius = int(rng.integers(3)), int(rng.integers(8, 14))
    reach = radius * 2 if task == "obb" else radius + 1
    x, y = (int(value) for value in rng.integers(reach, SIDE_PX - reach, 2))
    if task == "obb":
        corners = np.array([[-1.6, -0.6], [1.6, -0.6], [1.6, 0.6], [-1.6, 0.6]])
        turn = rng.uniform(0, np.pi)
        corners = corners @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    elif kind == 0:
        turns = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        corners = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    elif kind == 1:
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    else:
        corners = np.array([[0, -1], [1, 1], [-1, 1]])
    return kind, corners * radius + (x, y)


def _label(kind: int, corners: np.ndarray, task: str) -> Label:
    if task == "classify":
        return Label(kind, 0.5, 0.5, 1.0, 1.0)
    corners = corners / SIDE_PX
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    x, y = (left + right) / 2, (top + bottom) / 2
    points = {
        "detect": (),
        "segment": tuple(corners.reshape(-1)),
        "obb": tuple(corners.reshape(-1)),
        "pose": (x, top, 2.0, left, bottom, 2.0, right, bottom, 2.0),
    }[task]
    return Label(kind, x, y, right - left, bottom - top, tuple(map(float, points)))


def _picture(rng: np.random.Generator, task: str) -> tuple[bytes, Label]:
    image = rng.integers(90, 140, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    kind, corners = _shape(rng, task)
    cv2.fillPoly(image, [corners.round().astype(np.int32)], _COLOURS[kind])
    encoded, data = cv2.imencode(".png", image)
    assert encoded
    return data.tobytes(), _label(kind, corners, task)


def publish_shapes(
    store: ObjectStore, name: str = "shapes", train: int = 128, val: int = 32, task: str = "detect", names: tuple[str, ...] = NAMES
) -> str:
    """Publishes a version; returns its name. Without ``val`` it has no such split."""
    rng = np.random.default_rng(7)
    parent, shard, rows, shard_key = ResourceName("default", "datasets", name), b"", [], f"projects/default/shards/{name}"
    for split, count in (("train", train), ("val", val)):
        for index in range(count):
            data, label = _picture(rng, task)
            digest = hashlib.sha256(data).hexdigest()
            rows.append(ManifestRow(digest, f"{index:04d}.png", split, SIDE_PX, SIDE_PX, shard_key, len(shard), len(data), (label,)))
            shard += data
    rows = list(in_order(rows))
    store.put(shard_key, shard)
    manifest = f"projects/default/manifests/{name}"
    store.put(manifest, encode_manifest(rows, {"maker": "test"}))
    counts = [sum(row.labels[0].class_id == kind for row in rows) for kind in range(3)]
    version = DatasetVersion(
        name=VersionName(parent, None),
        digest=content_digest(task, names, rows),
        task=task,
        image_count=len(rows),
        label_count=len(rows),
        classes=tuple(DatasetClass(kind, names[kind], counts[kind]) for kind in range(3)),
        splits=tuple(DatasetSplit(split, count, count) for split, count in (("train", train), ("val", val)) if count),
        total_bytes=len(shard),
        stored_bytes=len(shard),
        source_format="yolo",
        import_job="",
        manifest_key=manifest,
        report_key="",
        keypoints=KeypointLayout(3, 3, ("top", "left", "right"), (0, 2, 1)) if task == "pose" else None,
    )
    return str(versions.publish(store, parent, version.body(), "test").name)
