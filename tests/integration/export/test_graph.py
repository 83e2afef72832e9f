"""The serving graph in ONNX Runtime against the PyTorch module that it was traced from, and against Ultralytics' own predictions."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ultralytics import YOLO

from visionyard.export.worker.weights import load_detector
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.vision.decode import decode_image
from visionyard.kit.vision.letterbox import LetterboxMode, letterbox, plan
from visionyard.kit.vision.nms import Candidates, detect

_SHAPES = [(1, 640, 640), (4, 640, 640), (1, 384, 640), (4, 384, 640), (1, 640, 480), (4, 640, 480), (1, 32, 32), (3, 32, 640)]
_NAMES = ["boxes", "scores", "classes", "anchors"]
Export = Callable[..., Any]


def _iou(a: list[float], b: list[float]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    inter = max(width, 0) * max(height, 0)
    return inter / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - inter or 1)


def _differences(reference: list[dict], found: list[dict], threshold: float, slack: float) -> list[str]:
    """What is missing and what is extra; only a detection within ``slack`` of the threshold may be on one side alone."""
    problems, left = [], list(found)
    for want in reference:
        same = [f for f in left if f["class_id"] == want["class_id"]]
        best = max(same, key=lambda f: _iou(f["box"], want["box"]), default=None)
        if best is not None and _iou(best["box"], want["box"]) >= 0.98 and abs(best["confidence"] - want["confidence"]) <= 0.02:
            left.remove(best)
        elif want["confidence"] > threshold + slack:
            problems.append(f"missing {want}")
    return problems + [f"extra {f}" for f in left if f["confidence"] > threshold + slack]


def _predict(model: Any, data: bytes, mode: LetterboxMode, confidence: float = 0.25, **options: object) -> tuple[list[dict], np.ndarray]:
    """Decode, letterbox, ONNX Runtime, NMS, and back to the picture's own pixels."""
    image = decode_image(data)
    fit = plan(image.shape[1], image.shape[0], 640, 32, mode)
    outputs = model.session.run(_NAMES, {"images": letterbox(image, fit)[None]})
    found = detect(Candidates(*(o[0] for o in outputs)), confidence=confidence, nms_applied=model.graph.nms_applied, **options)
    boxes = fit.boxes_to_image(found.boxes).tolist()
    rows = zip(found.classes.tolist(), found.scores.tolist(), boxes, strict=True)
    return [{"class_id": c, "confidence": s, "box": b} for c, s, b in rows], image


@pytest.mark.parametrize("name", ["yolov8n.pt", "yolo26n.pt", "yolov5n.yaml:3", "yolo11n.yaml:1", "yolov10n.yaml:7"])
def test_same_candidates_at_every_size(exported: Export, name: str) -> None:
    """Each candidate is looked up in the source's raw output, so that equal scores (an untrained head's) may come in any order."""
    model = exported(name)
    generator = torch.Generator().manual_seed(1)
    for shape in _SHAPES if name == "yolov8n.pt" else _SHAPES[-2:]:
        pixels = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8, generator=generator)
        with torch.inference_mode():
            raw = model.source(pixels.permute(0, 3, 1, 2).float() / 255)[0].transpose(1, 2).numpy()
        boxes, scores, classes, anchors = model.session.run(_NAMES, {"images": pixels.numpy()})
        assert [o.dtype for o in (boxes, scores, classes, anchors)] == [np.float32, np.float32, np.int32, np.int32]
        assert boxes.shape == (shape[0], 1000, 4)
        assert scores.shape == classes.shape == anchors.shape == (shape[0], 1000)
        assert (np.diff(scores, axis=1) <= 0).all()
        for image in range(shape[0]):
            real = scores[image] >= 0
            chosen, source = anchors[image][real], raw[image]
            corners = np.concatenate([source[:, :2] - source[:, 2:4] / 2, source[:, :2] + source[:, 2:4] / 2], axis=1)
            np.testing.assert_allclose(boxes[image][real], corners[chosen], atol=0.02)
            np.testing.assert_allclose(scores[image][real], source[chosen, 4 + classes[image][real]], atol=2e-5)
            surest = np.sort(source[:, 4:], axis=None)[::-1][:1000]
            assert real.sum() == len(surest)
            np.testing.assert_allclose(scores[image][real], surest, atol=2e-5)
            assert len(set(zip(chosen.tolist(), classes[image][real].tolist(), strict=True))) == len(surest), "a pair came twice"


def test_fewer_pairs_than_candidates_are_filled_up(exported: Export) -> None:
    model = exported("yolo11n.yaml:1")
    scores = model.session.run(["scores"], {"images": np.zeros((1, 32, 32, 3), np.uint8)})[0][0]
    assert int((scores >= 0).sum()) == 16 + 4 + 1
    assert (scores[21:] == -1).all()


def test_shapes_and_types_are_stated_in_the_file(exported: Export) -> None:
    session = exported("yolov8n.pt").session
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [("images", "tensor(uint8)", ["batch", "height", "width", 3])]
    assert [(o.name, o.type, o.shape) for o in session.get_outputs()] == [
        ("boxes", "tensor(float)", ["batch", 1000, 4]),
        ("scores", "tensor(float)", ["batch", 1000]),
        ("classes", "tensor(int32)", ["batch", 1000]),
        ("anchors", "tensor(int32)", ["batch", 1000]),
    ]


@pytest.mark.parametrize("mode", list(LetterboxMode))
def test_the_same_boxes_as_the_recorded_predictions(exported: Export, test_data: Path, mode: LetterboxMode) -> None:
    """The goal as users see it: 29 photos, against what ``model.predict`` gave for them."""
    reference = json.loads((test_data / "photos" / "reference_yolov8n.json").read_text())[mode.value]
    assert len(reference) == 29
    model = exported("yolov8n.pt")
    wrong = {}
    for name, expected in reference.items():
        found, _ = _predict(model, (test_data / "photos" / name).read_bytes(), mode)
        problems = _differences(expected, found, 0.25, 0.02)
        if problems:
            wrong[name] = problems
    assert not wrong


@pytest.mark.parametrize("weights", ["yolov8n.pt", "yolo26n.pt"])
def test_the_same_boxes_as_predict_gives_now(exported: Export, test_data: Path, weights: str) -> None:
    model, yolo = exported(weights), YOLO(str(test_data / "weights" / weights), task="detect")
    for name in ("ul_bus.jpg", "rf_crowd.jpg", "sk_coffee.png"):
        path = test_data / "photos" / name
        for options in ({}, {"class_ids": [0, 2, 41], "max_detections": 3}, {"iou": 0.3, "confidence": 0.05}):
            found, _ = _predict(model, path.read_bytes(), LetterboxMode.RECT, **options)
            boxes = yolo.predict(
                path,
                imgsz=640,
                verbose=False,
                conf=options.get("confidence", 0.25),
                iou=options.get("iou", 0.7),
                classes=options.get("class_ids"),
                max_det=options.get("max_detections", 300),
            )[0].boxes
            assert [f["class_id"] for f in found] == boxes.cls.int().tolist()
            np.testing.assert_allclose([f["confidence"] for f in found], boxes.conf.numpy(), atol=1e-4)
            np.testing.assert_allclose(np.array([f["box"] for f in found]).reshape(-1, 4), boxes.xyxy.numpy(), atol=0.05)


def test_nms_free_head_gives_what_predict_gives_without_nms(export: Export, test_data: Path, tmp_path: Path) -> None:
    """A YOLO26 whose one-to-many head is gone: its candidates are detections."""
    yolo = YOLO(str(test_data / "weights" / "yolo26n.pt"))
    # The file's own one-to-one head finds nothing; its one-to-many head does, so that one takes the other's place.
    head = yolo.model.model[-1]
    head.one2one_cv2, head.one2one_cv3 = copy.deepcopy(head.cv2), copy.deepcopy(head.cv3)
    source = copy.deepcopy(yolo.model)
    source.end2end = True
    model = export(source.fuse(verbose=False).eval(), tmp_path / "free.onnx")
    assert model.graph.nms_applied
    photo = test_data / "photos" / "ul_bus.jpg"
    for confidence in (0.25, 0.01):
        found, _ = _predict(model, photo.read_bytes(), LetterboxMode.RECT, confidence)
        boxes = yolo.predict(photo, imgsz=640, verbose=False, nms=False, conf=confidence)[0].boxes
        assert len(found) > 4
        assert [f["class_id"] for f in found] == boxes.cls.int().tolist()
        np.testing.assert_allclose([f["confidence"] for f in found], boxes.conf.numpy(), atol=1e-4)
        np.testing.assert_allclose([f["box"] for f in found], boxes.xyxy.numpy(), atol=0.05)


def test_other_tasks_are_refused(test_data: Path, safe_load: None) -> None:
    with pytest.raises(YardError) as caught:
        load_detector(test_data / "weights" / "yolo11n-cls.pt")
    assert caught.value.reason is Reason.UNSUPPORTED_TASK


@pytest.mark.parametrize("file", ["yolo26n_truncated.pt", "yolov8n_lfs_pointer.pt", "yolov8n_truncated_download.pt"])
def test_damaged_weights_are_refused(test_data: Path, safe_load: None, file: str) -> None:
    with pytest.raises(YardError) as caught:
        load_detector(test_data / "nasty" / file)
    assert caught.value.reason is Reason.WEIGHTS_UNREADABLE


def test_weights_are_not_opened_unsafely(test_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ultralytics.nn.tasks.SAFE_LOAD", False)
    with pytest.raises(RuntimeError, match="SAFE_LOAD"):
        load_detector(test_data / "weights" / "yolov8n.pt")
