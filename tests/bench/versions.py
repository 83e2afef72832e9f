"""What a version costs to read: the folder to train on beside fetching and untarring its shards, and a page of a list of 10,000 versions."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from stack import Stack, say, timed

from visionyard.dataset.v1 import dataset_service_pb2, dataset_service_pb2_grpc
from visionyard.kit.artifacts.dataset import read_dataset_version, read_manifest
from visionyard.kit.artifacts.materialise import materialise
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.objectstore.s3 import S3ObjectStore, S3Settings

ROUNDS, VERSIONS, PAGES = 9, 10_000, 20
_ROOM = 1 << 40


def measure(stack: Stack, folder: Path) -> None:
    """Prints both. The version is what :mod:`imports` left in the project ``new``."""
    store = _store(stack)
    _materialise(store, VersionName(ResourceName("new", "datasets", "set"), 1), folder)
    _list(stack, store, VersionName(ResourceName("new", "datasets", "set"), 1))


def _store(stack: Stack) -> ObjectStore:
    keys = json.loads((stack.home / "store" / "credentials.json").read_text())
    return S3ObjectStore(S3Settings(stack.address("store"), "visionyard", keys["access_key"], keys["secret_key"]))


def _materialise(store: ObjectStore, name: VersionName, folder: Path) -> None:
    version = read_dataset_version(store, name)
    shards = sorted({row.shard for row in read_manifest(store, version)})
    ours: list[float] = []
    plain: list[float] = []
    cached: list[float] = []

    def untar(turn: int) -> None:
        target = folder / f"untarred-{turn}"
        target.mkdir()
        os.sync()  # nothing that was written before is still on its way to the disk
        with timed(plain):
            for number, shard in enumerate(shards):
                store.get_file(shard, target / f"{number}.tar")
                subprocess.run(["tar", "-xf", target / f"{number}.tar", "-C", target], check=True)

    def make(turn: int) -> None:
        os.sync()  # nothing that was written before is still on its way to the disk
        with timed(ours), materialise(store, version, folder / f"cache-{turn}", _ROOM):
            pass

    for turn in range(ROUNDS):
        for run in (untar, make) if turn % 2 else (make, untar):
            run(turn)
        with timed(cached), materialise(store, version, folder / f"cache-{turn}", _ROOM):
            pass
    ratio = statistics.median(our / tar for our, tar in zip(ours, plain, strict=True))
    say(
        f"version    {version.image_count} images materialised in {', '.join(f'{s:.2f}' for s in ours)} s, fetched and untarred in "
        f"{', '.join(f'{s:.2f}' for s in plain)} s; ratio {ratio:.2f} (wanted: at most 1.25); from the cache {max(cached):.3f} s (wanted: below 2)"
    )


def _list(stack: Stack, store: ObjectStore, name: VersionName) -> None:
    """Fills a dataset with copies of a version's document and times its pages through the service."""
    document = store.get(f"{name.parent}/versions/{name.number:08d}.json").data
    many = ResourceName("listing", "datasets", "many")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: store.put(f"{many}/versions/{number:08d}.json", document), range(1, VERSIONS + 1)))
    seconds: list[float] = []
    request = dataset_service_pb2.ListDatasetVersionsRequest(parent=str(many))
    with grpc.insecure_channel(stack.address("dataset")) as channel:
        stub = dataset_service_pb2_grpc.DatasetServiceStub(channel)
        for _ in range(PAGES):
            with timed(seconds):
                page = stub.ListDatasetVersions(request, timeout=60)
            request.page_token = page.next_page_token
    first, rest = seconds[0], seconds[1:]
    say(
        f"version    a page of a list of {VERSIONS} versions: the first {first * 1e3:.0f} ms, the next {statistics.median(rest) * 1e3:.0f} ms, "
        f"at most {max(rest) * 1e3:.0f} ms (wanted: at most 200)"
    )
