"""A dataset version of generated pictures that a small model learns in seconds: FIELD's recipe of easy shapes."""

from __future__ import annotations

import hashlib

import cv2
import numpy as np

from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.dataset import DatasetClass, DatasetSplit, DatasetVersion
from visionyard.kit.artifacts.manifest import Label, ManifestRow, content_digest, encode_manifest, in_order
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.port import ObjectStore

NAMES = ("circle", "square", "triangle")
SIDE_PX = 64
RECIPE = {"nbs": 8, "optimizer": "AdamW", "lr0": 0.003, "warmup_epochs": 1, "mosaic": 0, "amp": False}
"""With Ultralytics' defaults (a nominal batch of 64) so small a set learns nothing."""


def _picture(rng: np.random.Generator) -> tuple[bytes, Label]:
    image = rng.integers(90, 140, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    kind, radius = int(rng.integers(3)), int(rng.integers(8, 14))
    x, y = (int(value) for value in rng.integers(radius + 1, SIDE_PX - radius - 1, 2))
    colour = ((255, 40, 40), (40, 255, 40), (40, 40, 255))[kind]
    if kind == 0:
        cv2.circle(image, (x, y), radius, colour, -1)
    elif kind == 1:
        cv2.rectangle(image, (x - radius, y - radius), (x + radius, y + radius), colour, -1)
    else:
        cv2.fillPoly(image, [np.array([[x - radius, y + radius], [x + radius, y + radius], [x, y - radius]])], colour)
    encoded, data = cv2.imencode(".png", image)
    assert encoded
    side = 2 * radius / SIDE_PX
    return data.tobytes(), Label(kind, x / SIDE_PX, y / SIDE_PX, side, side)


def publish_shapes(store: ObjectStore, name: str = "shapes", train: int = 128, val: int = 32, task: str = "detect") -> str:
    """Publishes a version; returns its name."""
    rng = np.random.default_rng(7)
    parent, shard, rows, shard_key = ResourceName("default", "datasets", name), b"", [], f"projects/default/shards/{name}"
    for split, count in (("train", train), ("val", val)):
        for index in range(count):
            data, label = _picture(rng)
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
        digest=content_digest(task, NAMES, rows),
        task=task,
        image_count=len(rows),
        label_count=len(rows),
        classes=tuple(DatasetClass(kind, NAMES[kind], counts[kind]) for kind in range(3)),
        splits=(DatasetSplit("train", train, train), DatasetSplit("val", val, val)),
        total_bytes=len(shard),
        stored_bytes=len(shard),
        source_format="yolo",
        import_job="",
        manifest_key=manifest,
        report_key="",
    )
    return str(versions.publish(store, parent, version.body(), "test").name)
