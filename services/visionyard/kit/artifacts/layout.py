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

from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.manifest import Label, ManifestRow

_UNSAFE = '\\/:*?"<>|'
_VISIBILITY_AT = 2


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


def label_path(row: ManifestRow) -> str:
    """Where an image's label file lies in the folder."""
    return f"labels/{row.split}/{row.name.rpartition('.')[0]}.txt"


def label_text(row: ManifestRow, version: DatasetVersion) -> str:
    """The text of an image's label file, numbers with as many digits as they need; empty for a background image."""
    dimensions = version.keypoints.dimensions if version.keypoints else 0
    return "".join(f"{label.class_id} {' '.join(_numbers(label, version.task, dimensions))}\n" for label in row.labels)


def _numbers(label: Label, task: str, dimensions: int) -> list[str]:
    if task in {"segment", "obb"}:
        return [repr(value) for value in label.points]
    box = [repr(value) for value in (label.cx, label.cy, label.w, label.h)]
    if task == "pose":
        # A visibility is a whole number.
        return box + [str(int(value)) if i % dimensions == _VISIBILITY_AT else repr(value) for i, value in enumerate(label.points)]
    return box
