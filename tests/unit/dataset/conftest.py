import hashlib
import io
import json
import shutil
import tarfile
import uuid
import zipfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import cv2
import google_crc32c
import numpy as np
import pytest

from visionyard.dataset.archives.entry import Entry
from visionyard.dataset.images import IMAGE_SUFFIXES
from visionyard.dataset.import_attempt import ImportLimits
from visionyard.dataset.import_job import run_import
from visionyard.dataset.import_spec import Derivation, ImportSpec
from visionyard.dataset.source import SourceTree, suffix_of
from visionyard.kit.artifacts.dataset import read_dataset_version, read_manifest
from visionyard.kit.names import ProjectName, ResourceName, VersionName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.transfer.uploads import UploadStore

JUDGED = frozenset(
    {
        "CLASS_IMBALANCE",
        "CLASS_NOT_IN_SPLIT",
        "CLASS_WITHOUT_LABELS",
        "CHANNELS_DIFFER",
        "FEW_IMAGES",
        "MANY_BACKGROUNDS",
        "RARE_CLASS",
        "SIZES_DIFFER",
        "TINY_OBJECTS",
        "WHOLE_PICTURE_BOXES",
    }
)
YAML = "train: images/train\nval: images/val\nnames: [thing, other]\n"
BOX = "0 0.5 0.5 0.2 0.2\n"


def picture(seed, width=64, height=48, suffix=".jpg"):
    """A generated image's bytes; another seed, other bytes."""
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    return cv2.imencode(suffix, pixels)[1].tobytes()


def images(*paths):
    """A generated image at each path."""
    return {path: picture(i) for i, path in enumerate(paths)}


def labels(*paths):
    """A YOLO label file with one box of class 0 at each path."""
    return dict.fromkeys(paths, BOX)


def voc(name="", *objects, size=(64, 48)):
    """A VOC annotation; each object: class, left, top, right, bottom."""
    body = "".join(
        f"<object><name>{kind}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox></object>\n"
        for kind, a, b, c, d in objects
    )
    return f"<annotation>\n<filename>{name}</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>\n{body}</annotation>"


def zipped(files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in files.items():
            archive.writestr(path, data)
    return buffer.getvalue()


def tarred(files, mode="w"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for path, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def good_set(count=4):
    """A small YOLO set: `count` images in train, half as many in val, a box in each."""
    files = {"data.yaml": YAML}
    for split, number in (("train", count), ("val", max(1, count // 2))):
        for i in range(number):
            files[f"images/{split}/{split}{i}.jpg"] = picture((split == "val") * 1000 + i)
            files[f"labels/{split}/{split}{i}.txt"] = f"{i % 2} 0.5 0.5 0.25 0.25\n"
    return files


class Uploads(UploadStore):
    """Uploads made at once, in a store of their own, so that a listing shows what imports leave."""

    def __init__(self):
        super().__init__(MemoryObjectStore(), 1 << 30)

    def take(self, data):
        upload = self.start(ProjectName("default"), len(data), hashlib.sha256(data).hexdigest(), uuid.uuid4().hex)
        writer = self.writer(upload.name)
        for offset in range(0, len(data), 1 << 20):
            chunk = data[offset : offset + (1 << 20)]
            part = writer.add(offset, chunk, google_crc32c.value(chunk))
            if part:
                writer.store(part)
        if part := writer.rest():
            writer.store(part)
        writer.finish()
        return upload.name

    @property
    def held(self):
        return [entry.key for entry in self._store.list("")]


class Bench:
    """Runs imports against a store in memory, one attempt at a time."""

    def __init__(self, scratch: Path):
        self.store = MemoryObjectStore()
        self.uploads = Uploads()
        self.scratch = scratch
        self.jobs = 0
        self.phases = []

    def spec(self, archive, dataset="set", **options):
        self.jobs += 1
        upload = self.uploads.take(archive)
        return ImportSpec(ResourceName("default", "datasets", dataset), upload, source_name="the.zip", **options)

    def context(self, spec, attempt=1, pointers=None, job=None):
        job_name = job or ResourceName("default", "importJobs", f"j{self.jobs}")
        scratch = self.scratch / f"{job_name.id}-{attempt}"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        record = SimpleNamespace(
            name=job_name, attempt=attempt, spec=spec.to_json(), pointers=dict(pointers or {}), create_time=datetime(2020, 1, 1, tzinfo=UTC)
        )
        context = SimpleNamespace(job=record, store=self.store, scratch=scratch, check=lambda: None)
        context.point = context.announce = lambda **moved: record.pointers.update(moved)
        context.report = lambda phase, *_: self.phases.append(phase)
        return context

    def attempt(self, context, limits=None):
        """Runs an attempt; returns what it moves the pointers to."""
        result = run_import(context, self.uploads, limits or ImportLimits())
        context.job.pointers.update(result)
        return result

    def run(self, archive, dataset="set", limits=None, **options):
        """Imports an archive; returns the version and the job's context."""
        context = self.context(self.spec(archive, dataset, **options))
        result = self.attempt(context, limits)
        return read_dataset_version(self.store, VersionName.parse(result["version"], "datasets")), context

    def derive(self, operation, *sources, dataset="", **parameters):
        """Makes a version of others; returns it and its report."""
        self.jobs += 1
        target = ResourceName("default", "datasets", dataset or sources[0].name.parent.id)
        derivation = Derivation(operation, tuple(source.name for source in sources), parameters)
        context = self.context(ImportSpec(target, None, derivation=derivation))
        result = run_import(context, self.uploads, ImportLimits())
        context.job.pointers.update(result)
        return read_dataset_version(self.store, VersionName.parse(result["version"], "datasets")), self.report(context)

    def report(self, context, *, whole=False):
        """The report; unless `whole`, without what the doctor says of the numbers of a set, as of a few generated images it always says that they are few."""
        report = json.loads(self.store.get(context.job.pointers["report_key"]).data)
        report["findings"] = [finding for finding in report["findings"] if whole or finding["code"] not in JUDGED]
        return report

    def rows(self, version):
        return read_manifest(self.store, version)

    def listing(self):
        return [entry.key for entry in self.store.list("")]


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path / "scratch")


@pytest.fixture
def plant(tmp_path):
    """Makes a source's tree without an archive, of paths with their contents; images have no bytes."""
    with ExitStack() as stack:

        def made(files, check=lambda: None):
            scratch = tmp_path / uuid.uuid4().hex
            scratch.mkdir()
            tree = stack.enter_context(SourceTree(scratch, check))
            for path, content in files.items():
                data = content.encode() if isinstance(content, str) else content
                tree.add(Entry(path, len(data), too_large=False), None if suffix_of(path) in IMAGE_SUFFIXES else data)
            tree.finish()
            return tree

        yield made
