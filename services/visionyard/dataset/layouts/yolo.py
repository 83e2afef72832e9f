"""The folder that Ultralytics reads; see :mod:`visionyard.kit.artifacts.layout`."""

from __future__ import annotations

from collections.abc import Iterator

from visionyard.dataset.layouts.layout import Layout, OutFile, Rows
from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.layout import class_folders, data_yaml, image_path, label_path, label_texts
from visionyard.kit.artifacts.manifest import batched, label_lists

_ROWS_AT_ONCE = 256


class YoloLayout(Layout):
    """``data.yaml``, then label file and image of each row; of a ``classify`` version the images in folders of their classes."""

    name = "yolo"

    def files(self, version: DatasetVersion, rows: Rows) -> Iterator[OutFile]:
        """See :meth:`Layout.files`."""
        if version.task == "classify":
            folders = class_folders(version)
            for row in rows():
                yield OutFile.of_image(image_path(row, folders), row)
            return
        yield OutFile.of_text("data.yaml", data_yaml(version, ""))
        for some in batched(rows(), _ROWS_AT_ONCE):
            texts = label_texts(label_lists([row.labels for row in some]), version)
            for row, text in zip(some, texts, strict=True):
                yield OutFile.of_text(label_path(row.split, row.name), text)
                yield OutFile.of_image(image_path(row), row)
