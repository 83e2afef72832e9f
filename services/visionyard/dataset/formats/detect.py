"""Which format a source is in, and why."""

from __future__ import annotations

import itertools

from visionyard.dataset.formats.data_yaml import find_data_yaml
from visionyard.dataset.formats.labelled import LabelledSource
from visionyard.dataset.formats.voc import find_annotations, read_voc
from visionyard.dataset.formats.yolo import find_labels, read_yolo
from visionyard.dataset.formats.yolo_rows import looks_like_labels
from visionyard.dataset.source import SourceTree, decode_text, suffix_of
from visionyard.kit.errors import Reason, YardError

_SAMPLE = 1000
_IMAGES_A_CHECK = 1024
_OTHER_ANNOTATIONS = frozenset({"json", "csv", "xml", "jsonl", "tfrecord", "parquet", "manifest"})


def read_source(tree: SourceTree, format_: str) -> LabelledSource:
    """Understands a source.

    Args:
        tree: What lies in it.
        format_: ``yolo`` or ``voc`` where the user says so; empty: found out.

    Raises:
        YardError: NO_IMAGES, NO_LABELS, FORMAT_UNKNOWN, CLASSES_UNKNOWN, ANNOTATION_BOMB.
    """
    if not tree.images:
        raise YardError(Reason.NO_IMAGES, "the source holds no image: put the pictures (JPEG, PNG, BMP or WebP) beside their labels")
    annotations = find_annotations(tree) if format_ != "yolo" else []
    if format_ == "voc":
        if not annotations:
            raise YardError(Reason.NO_LABELS, f"the source holds {len(tree.images)} images but no Pascal VOC annotation (*.xml)")
        return read_voc(tree, annotations)
    has_labels = _has_yolo_labels(tree)
    if format_ == "yolo":
        if not has_labels:
            raise YardError(
                Reason.NO_LABELS, f"the source holds {len(tree.images)} images but no YOLO label file (*.txt) beside any of them"
            )
        return read_yolo(tree, find_data_yaml(tree))
    if has_labels:
        data = find_data_yaml(tree)
        if data.path or not annotations:
            return read_yolo(tree, data)
    if annotations:
        return read_voc(tree, annotations)
    others = sorted({suffix_of(path) for path in tree.sizes} & _OTHER_ANNOTATIONS)
    if others:
        raise YardError(
            Reason.FORMAT_UNKNOWN,
            f"the source holds {len(tree.images)} images, but neither YOLO label files nor Pascal VOC annotations; what is there ({', '.join(others)}) "
            "is not read: export it as YOLO or VOC",
        )
    raise YardError(
        Reason.NO_LABELS, f"the source holds {len(tree.images)} images but no label: put YOLO *.txt or Pascal VOC *.xml files beside them"
    )


def _has_yolo_labels(tree: SourceTree) -> bool:
    """Whether any image has a text beside it that holds label rows: first a sample is asked, then all."""
    if not tree.texts("txt"):
        return False
    step = max(1, len(tree.images) // _SAMPLE)
    seen: set[str] = set()
    for number, image in enumerate(itertools.chain(tree.images[::step], tree.images)):
        if number % _IMAGES_A_CHECK == 0:
            tree.check()
        labels = find_labels(tree, image)
        if labels and labels not in seen:
            tree.check()
            seen.add(labels)
            if looks_like_labels(decode_text(tree.read(labels))):
                return True
    return False
