"""The folder layouts that Ultralytics reads.

``detect``, ``segment``, ``pose`` and ``obb``: ``data.yaml``, ``images/{split}/{name}``, ``labels/{split}/{stem}.txt``, a line a label in shares of the picture's size: ``class``, then

- ``detect``: ``cx cy w h`` (https://docs.ultralytics.com/datasets/detect/);
- ``segment``: ``x y`` of each corner (https://docs.ultralytics.com/datasets/segment/);
- ``pose``: ``cx cy w h``, then ``x y`` or ``x y visibility`` of each keypoint (https://docs.ultralytics.com/datasets/pose/);
- ``obb``: ``x y`` of the four corners (https://docs.ultralytics.com/datasets/obb/).

``classify``: ``{split}/{class}/{name}`` and nothing else (https://docs.ultralytics.com/datasets/classify/); class ids are the folders' places in the alphabet, so every class has
a folder in every split.
"""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.manifest import ManifestRow

CLASS_LIST = "classes.json"
"""Beside the folders of a ``classify`` version's classes on the machine that trains: their names by class id, as JSON."""
_UNSAFE = '\\/:*?"<>|'
_VISIBILITY_AT = 2
_TEXT_TYPE = pa.large_string()
"""Offsets of 64 bits: an image may have so many corners that a few hundred of them have more than 2 GiB of text."""
_TEXT = partial(pa.scalar, type=_TEXT_TYPE)


def data_yaml(version: DatasetVersion, path: str) -> str:
    """The text of a ``data.yaml``.

    Args:
        version: The version; its task is not ``classify``. Without a val split its train split is named as ``val``, because Ultralytics wants one.
        path: The absolute folder that the splits are relative to; empty for a file that people move about: without a path Ultralytics takes the YAML's
            own folder, while it takes ``.`` for the working directory.
    """
    names = {split.name for split in version.splits}
    lines = [f"path: {json.dumps(path, ensure_ascii=False)}"] if path else []
    lines += ["train: images/train", f"val: images/{'val' if 'val' in names else 'train'}"]
    if "test" in names:
        lines.append("test: images/test")
    if version.keypoints:
        lines.append(f"kpt_shape: [{version.keypoints.count}, {version.keypoints.dimensions}]")
        if version.keypoints.flip:
            lines.append(f"flip_idx: {list(version.keypoints.flip)}")
    lines.append("names:")
    # A JSON string is a YAML string, whatever it holds ("no", "1e3", a colon).
    lines += [f"  {c.id}: {json.dumps(c.name, ensure_ascii=False)}" for c in version.classes]
    if version.keypoints and version.keypoints.names:
        lines.append("kpt_names:")
        for c in version.classes:
            lines.append(f"  {c.id}: {json.dumps(list(version.keypoints.names), ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def class_folders(version: DatasetVersion) -> tuple[str, ...]:
    """The folder of each class of a ``classify`` version, by id: its name in a form that any file system takes."""
    folders: list[str] = []
    for c in version.classes:
        name = "".join("_" if char in _UNSAFE else char for char in c.name).strip(" .") or "_"
        taken = {folder.casefold() for folder in folders}
        folders.append(name if name.casefold() not in taken else f"{name}-{c.id}")
    return tuple(folders)


def image_path(row: ManifestRow, folders: tuple[str, ...] = ()) -> str:
    """Where an image lies in the folder; ``folders`` are those of :func:`class_folders` for a ``classify`` version, else empty."""
    if folders:
        return f"{row.split}/{folders[row.labels[0].class_id]}/{row.name}"
    return f"images/{row.split}/{row.name}"


def label_path(split: str, name: str) -> str:
    """Where the label file of an image lies in the folder, by the image's split and name."""
    return f"labels/{split}/{name.rpartition('.')[0]}.txt"


def label_texts(labels: pa.ListArray, version: DatasetVersion) -> list[str]:
    """The text of each image's label file, numbers with as many digits as they need; empty for a background image.

    Put together by Arrow, column by column: texts made label by label in Python take ten times as long.

    Args:
        labels: The images' labels, as :func:`visionyard.kit.artifacts.manifest.decode_labels` gives them.
        version: The version that they are of.
    """
    flat = labels.flatten()
    words = [_text(flat.field("class_id"))]
    if version.task in {"detect", "pose"}:
        words += [_text(flat.field(name)) for name in ("cx", "cy", "w", "h")]
    if version.task in {"segment", "obb", "pose"}:
        points = flat.field("points")
        numbers = _text(points.flatten())
        if version.keypoints and version.keypoints.dimensions > _VISIBILITY_AT:
            numbers = _whole_visibilities(points.flatten(), numbers, version.keypoints.dimensions)
        words.append(_joined(points, numbers, " "))
    lines = pc.binary_join_element_wise(*words, _TEXT(" "))
    texts: list[str] = _joined(labels, pc.binary_join_element_wise(lines, _TEXT(""), _TEXT("\n")), "").to_pylist()
    return texts


def _whole_visibilities(points: pa.DoubleArray, numbers: pa.LargeStringArray, dimensions: int) -> pa.LargeStringArray:
    """The texts of ``points``, but a keypoint's visibility is a whole number."""
    is_visibility = pa.array(np.arange(len(points)) % dimensions == _VISIBILITY_AT)
    return pc.if_else(is_visibility, _text(pc.cast(points, pa.int64(), safe=False)), numbers)


def _text(numbers: pa.Array) -> pa.LargeStringArray:
    """The shortest text that is read as the same number."""
    return pc.cast(numbers, _TEXT_TYPE)


def _joined(lists: pa.ListArray, texts: pa.LargeStringArray, between: str) -> pa.LargeStringArray:
    """The texts of each of ``lists`` in one, where ``texts`` are of all their items."""
    ends = np.concatenate(([0], np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False), dtype=np.int64)))
    return pc.binary_join(pa.LargeListArray.from_arrays(ends, texts), _TEXT(between))
