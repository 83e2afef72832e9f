"""Which images the manifests refer to, and manifests whose images were moved."""

import hashlib

from visionyard.dataset.shards import Place
from visionyard.dataset.storage.compaction import moved_manifest
from visionyard.dataset.storage.kinds import Kind, kind_of
from visionyard.dataset.storage.marking import Images
from visionyard.kit.artifacts.manifest import Label, ManifestRow, decode_manifest, encode_manifest

ROWS = 5000
"""More than a manifest's writer puts into one batch, so that a column comes in pieces."""


def shard(number, project="p"):
    return f"projects/{project}/shards/{number}.tar"


def manifest(first=0, project="p"):
    rows = [
        ManifestRow(hashlib.sha256(b"%d" % i).hexdigest(), f"{i:05}.jpg", "train", 9, 9, shard(i % 3, project), i * 1024, 500, (Label(0, 0.5, 0.5, 0.1, 0.1),))
        for i in range(first, ROWS)
    ]  # fmt: skip
    return encode_manifest(rows, {"job": "j"}), rows


def test_each_image_counts_once_however_many_versions_hold_it():
    images = Images("projects/p/shards/")
    data, rows = manifest()
    assert images.add(data) == {shard(0), shard(1), shard(2)}
    images.add(manifest(first=4000)[0])
    assert images.add(manifest(project="q")[0]) == frozenset()
    assert images.total_bytes == ROWS * 500
    assert images.of(shard(1)) == [(row.offset, 500) for row in rows if row.shard == shard(1)]
    assert images.space(shard(1)) == len(images.of(shard(1))) * 1024 + 2048
    assert images.of(shard(9)) == []


def test_a_moved_manifest_differs_in_places_only():
    data, rows = manifest()
    moved = {(row.shard, row.offset): Place("projects/p/shards/new.tar", row.offset // 2, 500) for row in rows if row.shard == shard(2)}
    found = decode_manifest(moved_manifest(data, moved, {"collection": "c"}))
    for row, now in zip(rows, found, strict=True):
        place = moved.get((row.shard, row.offset), Place(row.shard, row.offset, row.length))
        assert (now.shard, now.offset) == (place.shard, place.offset)
        assert (now.sha256, now.name, now.split, now.width, now.height, now.length, now.labels) == (
            row.sha256, row.name, row.split, row.width, row.height, row.length, row.labels,
        )  # fmt: skip
    assert moved_manifest(data, moved, {"collection": "other"}) != moved_manifest(data, moved, {"collection": "c"})


def test_every_key_of_the_layout_is_explained_and_nothing_else():
    sha256 = "0" * 64
    known = {
        f"shards/{sha256}.tar": Kind.SHARDS,
        f"manifests/{sha256}.parquet": Kind.MANIFESTS,
        f"reports/{sha256}.json": Kind.REPORTS,
        f"index/{sha256}.parquet": Kind.INDEX,
        "datasets/a/versions/00000001.json": Kind.DOCUMENTS,
        "models/a/versions/00000001.json": Kind.DOCUMENTS,
        "models/a/versions/00000001/artifacts/0a.json": Kind.DOCUMENTS,
        "deployments/a.json": Kind.DOCUMENTS,
        "notificationChannels/a.json": Kind.DOCUMENTS,
        "machines/a.json": Kind.DOCUMENTS,
        "uploads/0a/upload.json": Kind.UPLOADS,
        "uploads/0a/parts/0000000000000000": Kind.UPLOADS,
        "importJobs/0a.json": Kind.JOBS,
        "trainingJobs/0a/attempts/1/checkpoints/000001/last.pt": Kind.JOBS,
        f"blobs/{sha256}": Kind.BLOBS,
        f"requests/{sha256}": Kind.BOOKKEEPING,
        "pins/0a": Kind.BOOKKEEPING,
        "collection.json": Kind.BOOKKEEPING,
    }
    assert {key: kind_of(f"projects/p/{key}") for key in known} == known
    for key in ("shards/a.tar", f"shards/{sha256}.tar.bak", "notes.txt", "datasets/a.json", "importJobs/0a/x", f"blobs/x/{sha256}"):
        assert kind_of(f"projects/p/{key}") is Kind.UNKNOWN
