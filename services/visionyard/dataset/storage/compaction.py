"""Rewriting shards that are mostly dead: their living images go to new shards, and the manifests of the versions with them.

Shards and manifests never change. So the images are copied into new shards, each manifest that refers to an old one gets a successor that differs in places only, and the
version's document is swapped to that; the version's digest, which is of the content, stays. A reader that still holds the old manifest finds its bytes gone, reads the version
again and goes on (:func:`visionyard.kit.artifacts.dataset.read_images`).
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import logging
import re
import tarfile
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from visionyard.dataset.index import encode_places, store_segment
from visionyard.dataset.shards import Place, ShardWriter
from visionyard.dataset.storage.lease import CollectionLease
from visionyard.dataset.storage.marking import MarkedVersion, Marker, read_manifest_bytes
from visionyard.kit.artifacts import versions
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.objectstore.port import Conflict, ObjectStore

_log = logging.getLogger(__name__)
_BLOCK = 512
_NAME = re.compile(r"[0-9a-f]{64}\.[a-z0-9]+")
_RUN_BYTES = 8 << 20
_GAP_BYTES = 128 << 10


@dataclass
class Compaction:
    """What was rewritten.

    Attributes:
        moved: Where images lie now, by the old shard and offset.
        images: The same by sha256.
        shards: The old shards that were rewritten.
        written: The keys of the objects that were written.
    """

    moved: dict[tuple[str, int], Place] = field(default_factory=dict)
    images: dict[bytes, Place] = field(default_factory=dict)
    shards: set[str] = field(default_factory=set)
    written: list[str] = field(default_factory=list)


class Compactor:
    """Rewrites shards of one project.

    Args:
        store: The bucket.
        project: The project's id.
        collection: The collection's id: it is part of what is written, so that no key is ever written twice.
        scratch: A private folder; one shard's file is in it at a time.
        may_go_on: Called before what exists is changed; raises where the collection must stop.
    """

    def __init__(self, store: ObjectStore, project: str, collection: str, scratch: Path, may_go_on: Callable[[], None]) -> None:
        self.done = Compaction()
        self._store = store
        self._project = project
        self._collection = collection
        self._may_go_on = may_go_on
        self._writer = ShardWriter(project, scratch, f"collection {collection}", self._store_shard)

    def _store_shard(self, key: str, path: Path) -> None:
        self.done.written.append(key)
        self._store.put_file(key, path)

    def run(self, marker: Marker, sparse: Collection[str]) -> Iterator[tuple[str, int, int, str]]:
        """Copies the living images of ``sparse`` shards and moves the versions to them. Gives phase, done, total, unit. Blocks.

        Raises:
            YardError: the collection must stop, here or in another project whose versions are being moved, or a version's manifest is missing.
            StoreUnavailable: the store does not answer.
        """
        for done, shard in enumerate(sorted(sparse)):
            yield "rewriting shards", done, len(sparse), "shards"
            yield from (("rewriting shards", done, len(sparse), "shards") for _ in self._copy(shard, marker.images.of(shard)))
        self._writer.close()
        self._tell_index()
        moving = [version for version in marker.versions.values() if version.shards & self.done.shards]
        moving.sort(key=lambda version: version.name.parent.project)
        done = 0
        for project, versions_of in itertools.groupby(moving, lambda version: version.name.parent.project):
            with self._undisturbed(project) as may_go_on:
                if may_go_on is None:
                    continue
                for version in versions_of:
                    yield "moving versions", done, len(moving), "versions"
                    done += 1
                    self._may_go_on()
                    may_go_on()
                    self._move(version)

    @contextmanager
    def _undisturbed(self, project: str) -> Iterator[Callable[[], None] | None]:
        """Keeps other collections out of a project whose versions are moved: they would take a manifest away that no version names yet.

        Gives what is called before each move, and raises where they are kept out no longer; None where one runs: then its versions keep their places, and the shards they are in.
        """
        if project == self._project:
            yield lambda: None
            return
        lease = CollectionLease(self._store, project)
        with ExitStack() as stack:
            try:
                stack.enter_context(lease.held())
            except YardError as error:
                if error.reason is not Reason.COLLECTION_RUNNING:
                    raise
                _log.info("the versions of project %s are not moved: it is being collected", project)
                yield None
                return
            yield lease.check

    def _tell_index(self) -> None:
        done = self.done
        done.moved = {old: self._writer.resolve(place) for old, place in done.moved.items() if old[0] in done.shards}
        done.images = {sha256: self._writer.resolve(place) for sha256, place in done.images.items()}
        if done.images:
            self._may_go_on()
            done.written.append(store_segment(self._store, self._project, encode_places(done.images)))

    def _copy(self, shard: str, images: list[tuple[int, int]]) -> Iterator[None]:
        for run in _runs(images):
            begin = run[0][0] - _BLOCK
            data = self._store.get(shard, begin, run[-1][0] + run[-1][1] - begin).data
            for offset, length in run:
                at = offset - begin
                name = _member(data[at - _BLOCK : at], length)
                if name is None:
                    _log.error("the image at %d in %s has no header of its own; the shard is left as it is", offset, shard)
                    return
                sha256, _, suffix = name.rpartition(".")
                # Copied as they are: whether they fit their sha256 is checked by whoever reads them.
                place = self._writer.add(sha256, suffix, data[at : at + length])
                self.done.moved[shard, offset] = self.done.images[bytes.fromhex(sha256)] = place
            yield
        self.done.shards.add(shard)

    def _move(self, version: MarkedVersion) -> None:
        document = versions.lookup(self._store, version.name)
        while document is not None:
            found = read_manifest_bytes(self._store, document)
            if found is None:
                return
            document, data = found
            manifest = moved_manifest(data, self.done.moved, {"collection": self._collection, "moved_from": document.body["manifest_key"]})
            folder = document.body["manifest_key"].rpartition("/")[0]
            key = f"{folder}/{hashlib.sha256(manifest).hexdigest()}.parquet"
            self.done.written.append(key)
            self._store.put(key, manifest)
            try:
                versions.change(self._store, document, {**document.body, "manifest_key": key})
            except Conflict:
                document = versions.lookup(self._store, version.name)
                continue
            return


def _runs(images: list[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """Neighbouring images that are read together."""
    run: list[tuple[int, int]] = []
    for offset, length in images:
        if run:
            end = run[-1][0] + run[-1][1]
            if offset - end > _GAP_BYTES or offset + length - run[0][0] > _RUN_BYTES:
                yield run
                run = []
        run.append((offset, length))
    if run:
        yield run


def _member(header: bytes, length: int) -> str | None:
    """The name in an image's tar header (one block, as :class:`ShardWriter` writes it); None where it is none."""
    try:
        member = tarfile.TarInfo.frombuf(header, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError):
        return None
    return member.name if member.size == length and _NAME.fullmatch(member.name) else None


def moved_manifest(data: bytes, moved: dict[tuple[str, int], Place], maker: dict[str, str]) -> bytes:
    """The same manifest with other places, whatever its other columns are.

    Args:
        data: The manifest.
        moved: Where images lie now, by the old shard and offset.
        maker: Who writes it, for the file's metadata.
    """
    table = pq.read_table(io.BytesIO(data))
    shards, offsets = table["shard"].to_pylist(), table["offset"].to_pylist()
    places = [moved.get(old) for old in zip(shards, offsets, strict=True)]
    columns = {
        "shard": [place.shard if place else shard for place, shard in zip(places, shards, strict=True)],
        "offset": [place.offset if place else offset for place, offset in zip(places, offsets, strict=True)],
    }
    for name, values in columns.items():
        index, kind = table.schema.get_field_index(name), table.schema.field(name)
        table = table.set_column(index, kind, pa.array(values, kind.type))
    metadata = {**(table.schema.metadata or {}), b"visionyard": json.dumps(maker, sort_keys=True).encode()}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd")
    return buffer.getvalue()
