import hashlib

import cv2
import numpy as np
import pytest

from visionyard.dataset.findings import Report
from visionyard.kit.artifacts.dataset import DatasetClass, DatasetSplit, DatasetVersion
from visionyard.kit.artifacts.manifest import ManifestRow, encode_manifest, row_order
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.memory import MemoryObjectStore


def photo(seed, width=320, height=240):
    """A picture of smooth colours."""
    coarse = np.random.default_rng(seed).integers(40, 210, (4, 5, 3), np.uint8)
    return cv2.imencode(".jpg", cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))[1].tobytes()


class Made:
    """Versions in a store in memory, without an import."""

    def __init__(self):
        self.store = MemoryObjectStore()

    def version(self, images, *, task="detect", names=("cone", "cube"), keypoints=None):
        """`images`: by `{split}/{name}`, the file's bytes, its width and height, and its labels."""
        rows, shard = [], b""
        for place, (data, size, labels) in images.items():
            split, _, name = place.partition("/")
            digest = hashlib.sha256(data).hexdigest()
            rows.append(ManifestRow(digest, name, split, *size, "shard", len(shard), len(data), tuple(labels)))
            shard += data
        rows.sort(key=row_order)
        self.store.put("shard", shard)
        self.store.put("manifest", encode_manifest(rows, {}))
        count = [label.class_id for row in rows for label in row.labels].count
        splits = [
            DatasetSplit(split, sum(row.split == split for row in rows), sum(len(row.labels) for row in rows if row.split == split))
            for split in ("train", "val", "test")
        ]
        return DatasetVersion(
            name=VersionName(ResourceName("default", "datasets", "set"), 3),
            digest=f"sha256:{'a' * 64}",
            task=task,
            image_count=len(rows),
            label_count=sum(len(row.labels) for row in rows),
            classes=tuple(DatasetClass(i, name, count(i)) for i, name in enumerate(names)),
            splits=tuple(split for split in splits if split.image_count),
            total_bytes=len(shard),
            stored_bytes=len(shard),
            source_format="yolo",
            import_job="projects/default/importJobs/j1",
            manifest_key="manifest",
            report_key="report",
            keypoints=keypoints,
        )


@pytest.fixture
def made():
    return Made()


@pytest.fixture
def report():
    return Report()
