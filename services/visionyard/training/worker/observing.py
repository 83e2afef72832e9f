"""Sees what Ultralytics' validator finds picture by picture, so that the final validation of ``best.pt`` needs no second pass.

The validators of detect, segment, pose, obb and RT-DETR hand each picture's predictions and labels to ``_process_batch``, the method that the tasks' classes override to count what is right;
the classifier's hands batches to ``update_metrics``. The one that is in use is wrapped on the validator at hand. Only what a validation outside of an epoch finds is kept: per picture
its boxes of at least :data:`LEAST_CONFIDENCE`, 24 bytes each. A picture with 300 predictions and 20 labels, the most that Ultralytics gives, took 1.3 ms of one core more, and 0.6 ms at the end.

Boxes are matched as boxes, rotated ones as rotated ones; masks and keypoints are drawn nowhere and matched only in Ultralytics' own metrics.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ultralytics.utils import ops
from ultralytics.utils.metrics import batch_probiou, box_iou, smooth

from visionyard.training.reports.findings import NONE, ClassFigures, Picture, Subject, errors_by_picture, summarise
from visionyard.training.reports.matching import IOU, Found

_log = logging.getLogger(__name__)
LEAST_CONFIDENCE = 0.01
"""Below it no prediction counts, whatever F1 says: models that have learnt nothing find hundreds of boxes there on every picture."""
_NOTHING_FOUND = 0.25
"""Ultralytics' own threshold for predictions, where no confidence gives an F1 above 0."""
_ROTATED_FIELDS = 5
_MAX_CURVES = 20
_RECALLS = np.linspace(0, 1, 101)
_SMOOTHING = 0.1
"""As Ultralytics smooths the mean F1 curve before it takes its peak (``ap_per_class`` in utils/metrics.py)."""
_DECIMALS = 4


@dataclass(frozen=True)
class Observed:
    """A validation that was watched.

    Attributes:
        document: What it found; see :mod:`visionyard.training.reports.findings`.
        errors: False positives and false negatives of each picture that has some, by its name.
        files: Where the pictures lie, by their names in the document.
    """

    document: dict[str, Any]
    errors: Mapping[str, tuple[int, int]]
    files: Mapping[str, Path]


class ValidationObserver:
    """Watches a validator.

    Args:
        root: The dataset's folder on this machine.
        metrics: Picks what is kept of Ultralytics' metrics.
        on_end: Called with each validation outside of training, in the validator's thread, when its metrics are there.
    """

    def __init__(self, root: Path, metrics: Callable[[Mapping[str, Any]], dict[str, float]], on_end: Callable[[Observed], None]) -> None:
        self._root = root
        self._metrics = metrics
        self._on_end = on_end
        self._pictures: list[Picture] = []
        self._files: dict[str, Path] = {}

    def watch(self, validator: Any) -> None:
        """Begins; the validator must run :meth:`callbacks` too."""
        if validator.args.task == "classify":
            update = validator.update_metrics

            def updated(preds: torch.Tensor, batch: dict[str, Any]) -> None:
                update(preds, batch)
                if not validator.training:
                    self._classified(validator, preds, batch)

            validator.update_metrics = updated
            return
        process = validator._process_batch  # noqa: SLF001 - the tasks' classes override it, so it is where they all meet

        def processed(preds: dict[str, torch.Tensor], batch: dict[str, Any]) -> Any:
            if not validator.training:
                self._detected(preds, batch)
            return process(preds, batch)

        validator._process_batch = processed  # noqa: SLF001 - see above

    def callbacks(self) -> dict[str, Callable[[Any], None]]:
        """The hooks that tell where a validation begins and ends."""
        return {"on_val_start": self._start, "on_val_end": self._end}

    def _start(self, _: Any) -> None:
        self._pictures, self._files = [], {}

    def _end(self, validator: Any) -> None:
        if validator.training:
            return
        confidence = best_confidence(validator.metrics)
        document = summarise(_subject(validator, self._root, self._metrics), self._pictures, confidence)
        errors = errors_by_picture(self._pictures, confidence)
        pictures, files = self._pictures, self._files
        self._pictures, self._files = [], {}
        _log.info("%d pictures validated, %d with errors", len(pictures), document["wrong_image_count"])
        self._on_end(Observed(document, errors, files))

    def _classified(self, validator: Any, preds: torch.Tensor, batch: dict[str, Any]) -> None:
        confidences, classes = preds.float().max(dim=1)
        samples = validator.dataloader.dataset.samples
        # The loader of a validation goes through the samples in their order.
        for true, predicted, confidence in zip(batch["cls"].tolist(), classes.tolist(), confidences.tolist(), strict=True):
            path = Path(samples[len(self._pictures)][0])
            name = self._named(path)
            self._pictures.append(Picture(name, true_class=int(true), predicted_class=int(predicted), confidence=float(confidence)))

    def _detected(self, preds: dict[str, torch.Tensor], batch: dict[str, Any]) -> None:
        height, width = (int(side) for side in batch["ori_shape"])
        name = self._named(Path(batch["im_file"]))
        self._pictures.append(Picture(name, width, height, _found(preds, batch)))

    def _named(self, path: Path) -> str:
        """A picture's name in the version, and notes where it lies."""
        name = image_name(path, self._root)
        self._files[name] = path
        return name


def image_name(path: Path, root: Path) -> str:
    """``{split}/{name}`` of a picture in a materialised version, whose layouts :mod:`visionyard.kit.artifacts.layout` tells."""
    try:
        parts = path.relative_to(root).parts
    except ValueError:
        return path.name
    split = parts[1] if parts[0] == "images" else (root / parts[0]).resolve().name  # `val` may be a link to `train`
    return f"{split}/{path.name}"


def best_confidence(metrics: Any) -> float:
    """The confidence at which the mean F1 over classes is best, at which Ultralytics gives precision and recall too; at least 0.01."""
    box: Any = getattr(metrics, "box", None)
    curve = np.asarray(getattr(box, "f1_curve", ()))
    if curve.size == 0 or not curve.any():
        return _NOTHING_FOUND
    peak = int(smooth(curve.mean(0), _SMOOTHING).argmax())
    return round(max(float(np.asarray(box.px)[peak]), LEAST_CONFIDENCE), _DECIMALS)


def _subject(validator: Any, root: Path, metrics: Callable[[Mapping[str, Any]], dict[str, float]]) -> Subject:
    found = validator.metrics
    names = [str(validator.names[at]) for at in range(len(validator.names))]
    split = image_name(Path(validator.data[validator.args.split]) / "any", root).split("/")[0]
    milliseconds = sum(validator.speed.values())
    figures, curves = _figures(found)
    return Subject(
        validator.args.task, split, names, metrics(found.results_dict), 1000 / milliseconds if milliseconds else 0.0, figures, curves
    )


def _figures(metrics: Any) -> tuple[dict[int, ClassFigures], dict[int, list[float]]]:
    """What Ultralytics measured of each class, and the curves of the classes with the most labels."""
    box = getattr(metrics, "box", None)
    if box is None or not len(box.all_ap):
        return {}, {}
    classes = [int(class_id) for class_id in box.ap_class_index]
    figures = {class_id: ClassFigures(float(box.ap50[at]), float(box.ap[at])) for at, class_id in enumerate(classes)}
    precisions = np.asarray(box.prec_values)
    frequent = sorted(range(len(classes)), key=lambda at: -int(metrics.nt_per_class[classes[at]]))[:_MAX_CURVES]
    curves = {classes[at]: _curve(precisions[at]) for at in frequent}
    return figures, {NONE: _curve(precisions.mean(0)), **curves}


def _curve(precision: NDArray[np.float64]) -> list[float]:
    return [round(float(value), _DECIMALS) for value in np.interp(_RECALLS, np.linspace(0, 1, len(precision)), precision)]


def _found(preds: dict[str, torch.Tensor], batch: dict[str, Any]) -> Found:
    """One picture's predictions and labels, in pixels of the picture as it is stored."""
    kept = preds["conf"] >= LEAST_CONFIDENCE
    order = preds["conf"][kept].argsort(descending=True, stable=True)
    boxes, true = preds["bboxes"][kept][order].float(), batch["bboxes"].float()
    rotated = true.shape[-1] == _ROTATED_FIELDS or boxes.shape[-1] == _ROTATED_FIELDS
    pairs: tuple[tuple[int, int, float], ...] = ()
    if len(boxes) and len(true):
        ious = batch_probiou(true, boxes) if rotated else box_iou(true, boxes)
        labels, predictions = (ious >= IOU).nonzero(as_tuple=True)
        pairs = tuple(zip(labels.tolist(), predictions.tolist(), ious[labels, predictions].tolist(), strict=True))
    return Found(
        confidences=_array(preds["conf"][kept][order], np.float32),
        classes=_array(preds["cls"][kept][order], np.int32),
        boxes=_in_picture(boxes, batch, rotated=rotated),
        true_classes=_array(batch["cls"], np.int32),
        true_boxes=_in_picture(true, batch, rotated=rotated),
        pairs=pairs,
    )


def _in_picture(boxes: torch.Tensor, batch: dict[str, Any], *, rotated: bool) -> NDArray[np.float32]:
    if not len(boxes):
        return np.zeros((0, 8 if rotated else 4), np.float32)
    scaled = ops.scale_boxes(batch["imgsz"], boxes.clone(), batch["ori_shape"], ratio_pad=batch["ratio_pad"], xywh=rotated)
    return _array(ops.xywhr2xyxyxyxy(scaled).flatten(1) if rotated else scaled, np.float32)


def _array(values: torch.Tensor, kind: Any) -> NDArray[Any]:
    return np.asarray(values.detach().cpu().numpy(), dtype=kind)
