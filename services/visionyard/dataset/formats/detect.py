"""Which format a source is in, and why."""

from __future__ import annotations

from visionyard.dataset.formats.labelled import LabelledSource
from visionyard.dataset.formats.voc import find_annotations, read_voc
from visionyard.dataset.formats.yolo import find_data_yaml, find_labels, read_yolo
from visionyard.dataset.formats.yolo_rows import looks_like_labels
from visionyard.dataset.source import SourceTree, decode_text, suffix_of
from visionyard.kit.errors import Reason, YardError

_LOOKED_AT = 1000
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
        return read_yolo(tree)
    if has_labels and find_data_yaml(tree) is not None:
        return read_yolo(tree)
    if annotations:
        return read_voc(tree, annotations)
    if has_labels:
        return read_yolo(tree)
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
    """Whether any of the first images has a text beside it that holds label rows."""
    step = max(1, len(tree.images) // _LOOKED_AT)
    for image in tree.images[::step]:
        labels = find_labels(tree, image)
        if labels and looks_like_labels(decode_text(tree.read(labels))):
            return True
    return False
