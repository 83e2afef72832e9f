"""A version as a Label Studio project: ``tasks.json``, ``label_config.xml``, the images, and a text that says how to bring them in.

The format: https://labelstud.io/guide/tasks#Basic-Label-Studio-JSON-format and https://labelstud.io/guide/predictions. Labels of persons are annotations; predicted labels
that nobody has confirmed are predictions with their scores, which Label Studio shows to whoever annotates the task. :mod:`visionyard.dataset.formats.label_studio` reads the
files back, as they are or as Label Studio exports them again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from visionyard.dataset.formats.label_studio_tasks import OUR_PREDICTIONS
from visionyard.dataset.layouts.label_studio_items import CLASS, CONTROL, KEYPOINTS, PICTURE, VISIBILITY, Items, keypoint_names
from visionyard.dataset.layouts.layout import Layout, OutFile, Rows
from visionyard.kit.artifacts.dataset import DatasetVersion
from visionyard.kit.artifacts.manifest import Label, ManifestRow
from visionyard.kit.errors import Reason, YardError

_README = """\
This folder is a dataset for Label Studio (https://labelstud.io).

1. Start Label Studio so that it may serve files of this folder:
   LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT=<this folder> label-studio start
   (With Docker: mount this folder, and give its path in the container as the document root.)
2. Make a project. Under Settings, Labeling Interface, Code, put the text of label_config.xml.
3. Under Settings, Cloud Storage, add a source storage of the type Local files with the absolute path <this folder>/images.
   Don't sync it: the tasks that name the images come from tasks.json.
4. Import tasks.json. Labels of persons come as annotations, predicted ones as predictions.
5. When done, export as JSON and import that file, together with the images, as the next version.
"""


class LabelStudioLayout(Layout):
    """Label Studio's JSON.

    What it cannot hold: a rotated box whose corners are no rectangle by more than half a pixel becomes the smallest rectangle around it; a keypoint that is not there loses the
    place that it has all the same; keypoints of two dimensions come back as seen ones of three; which keypoints mirror which is not told.
    """

    name = "labelstudio"

    def files(self, version: DatasetVersion, rows: Rows) -> Iterator[OutFile]:
        """See :meth:`Layout.files`."""
        if version.task not in CONTROL:
            raise YardError(
                Reason.UNSUPPORTED_TASK,
                f"labels for the task {version.task!r} cannot be written for Label Studio; {', '.join(CONTROL)} can",
                {"task": version.task},
            )
        yield OutFile.of_text("README.txt", _README)
        yield OutFile.of_text("label_config.xml", label_config(version))
        yield OutFile.of_pieces("tasks.json", lambda: _tasks(version, rows))
        for row in rows():
            yield OutFile.of_image(_path(row), row)


def label_config(version: DatasetVersion) -> str:
    """The labelling interface for a version's labels; see https://labelstud.io/tags/.

    Args:
        version: Its task, classes and keypoints count.
    """
    tag, choice = CONTROL[version.task]
    lines = ["<View>", f'  <Image name="{PICTURE}" value="$image"/>']
    single = ' choice="single-radio" required="true"' if version.task == "classify" else ""
    rotates = f' canRotate="{str(version.task == "obb").lower()}"' if tag == "RectangleLabels" else ""
    lines.append(f'  <{tag} name="{CLASS}" toName="{PICTURE}"{single}{rotates}>')
    lines += [f"    <{choice} value={quoteattr(name)}/>" for name in version.class_names]
    lines.append(f"  </{tag}>")
    if version.keypoints:
        lines.append(f'  <KeyPointLabels name="{KEYPOINTS}" toName="{PICTURE}">')
        lines += [f'    <Label value={quoteattr(name)} model_index="{i}"/>' for i, name in enumerate(keypoint_names(version.keypoints))]
        lines += [
            "  </KeyPointLabels>",
            f'  <Choices name="{VISIBILITY}" toName="{PICTURE}" perRegion="true">',
            '    <Choice value="hidden"/>',
        ]
        lines.append("  </Choices>")
    return "\n".join([*lines, "</View>", ""])


def _path(row: ManifestRow) -> str:
    return f"images/{row.split}/{row.name}"


def _tasks(version: DatasetVersion, rows: Rows) -> Iterator[bytes]:
    """The text of ``tasks.json``, a task a line."""
    items = Items(version)
    before = b"[\n"
    for row in rows():
        yield before + json.dumps(_task(items, row), ensure_ascii=False, separators=(",", ":")).encode()
        before = b",\n"
    yield b"\n]\n" if before == b",\n" else b"[]\n"


def _task(items: Items, row: ManifestRow) -> dict[str, Any]:
    """A task. One without any label is annotated with nothing: it is background."""
    ours = [label for label in row.labels if label.confidence is None]
    predicted = [label for label in row.labels if label.confidence is not None]
    task: dict[str, Any] = {"data": {"image": f"/data/local-files/?d={quote(_path(row))}", "split": row.split}}
    if ours or not predicted:
        task["annotations"] = [{"result": _result(items, row, ours, "label")}]
    if predicted:
        surest = max(label.confidence or 0.0 for label in predicted)
        result = _result(items, row, predicted, "predicted")
        task["predictions"] = [{"model_version": OUR_PREDICTIONS, "score": surest, "result": result}]
    return task


def _result(items: Items, row: ManifestRow, labels: list[Label], prefix: str) -> list[dict[str, Any]]:
    return [item for number, label in enumerate(labels, start=1) for item in items.of(label, row.width, row.height, f"{prefix}-{number}")]
