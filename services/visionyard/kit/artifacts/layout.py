"""The folder layout that Ultralytics reads, file by file: ``data.yaml``, ``images/{split}/{name}``, ``labels/{split}/{stem}.txt``.

See https://docs.ultralytics.com/datasets/detect/: a label file has a line a box, ``class cx cy w h``, in shares of the picture's size.
"""

from __future__ import annotations

import json

from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.manifest import ManifestRow


def data_yaml(version: DatasetVersion, path: str) -> str:
    """The text of a ``data.yaml``.

    Args:
        version: The version. Without a val split its train split is named as ``val``, because Ultralytics wants one.
        path: The absolute folder that the splits are relative to; empty for a file that people move about: without a path Ultralytics takes the YAML's
            own folder, while it takes ``.`` for the working directory.
    """
    names = {split.name for split in version.splits}
    lines = [f"path: {json.dumps(path, ensure_ascii=False)}"] if path else []
    lines += ["train: images/train", f"val: images/{'val' if 'val' in names else 'train'}"]
    if "test" in names:
        lines.append("test: images/test")
    lines.append("names:")
    # A JSON string is a YAML string, whatever it holds ("no", "1e3", a colon).
    lines += [f"  {c.id}: {json.dumps(c.name, ensure_ascii=False)}" for c in version.classes]
    return "\n".join(lines) + "\n"


def image_path(row: ManifestRow) -> str:
    """Where an image lies in the folder."""
    return f"images/{row.split}/{row.name}"


def label_path(row: ManifestRow) -> str:
    """Where an image's label file lies in the folder."""
    return f"labels/{row.split}/{row.name.rpartition('.')[0]}.txt"


def label_text(row: ManifestRow) -> str:
    """The text of an image's label file: a line a box, numbers with as many digits as they need; empty for a background image."""
    return "".join(f"{label.class_id} {label.cx!r} {label.cy!r} {label.w!r} {label.h!r}\n" for label in row.labels)
