"""Graphs exported once for all tests of the folder."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import onnxruntime
import pytest
from ultralytics.nn import tasks
from ultralytics.nn.tasks import BaseModel, DetectionModel

from visionyard.export.key import MAX_CANDIDATES, OPSET
from visionyard.export.worker.graph import ServingGraph, check_onnx, write_onnx
from visionyard.export.worker.weights import load_detector


@dataclass(frozen=True)
class Exported:
    """A checked ONNX file beside what it was made of."""

    source: BaseModel
    graph: ServingGraph
    path: Path
    session: onnxruntime.InferenceSession


def _export(source: BaseModel, path: Path) -> Exported:
    """Writes and checks a source's serving graph."""
    graph = ServingGraph(copy.deepcopy(source), MAX_CANDIDATES).eval()
    write_onnx(graph, path, OPSET)
    check_onnx(path)
    return Exported(source, graph, path, onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]))


@pytest.fixture(scope="session")
def safe_load():
    """Weights are opened as in a worker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "SAFE_LOAD", True)
        yield


@pytest.fixture
def export() -> Callable[[BaseModel, Path], Exported]:
    """Exports a loaded model."""
    return _export


@pytest.fixture(scope="session")
def exported(test_data: Path, tmp_path_factory: pytest.TempPathFactory, safe_load: None) -> Callable[[str], Exported]:
    """Exports a model by name: one of the weights, or an untrained one from a YAML with so many classes (``yolov5n.yaml:3``)."""

    @cache
    def make(name: str) -> Exported:
        path = tmp_path_factory.mktemp("graph") / "model.onnx"
        if name.endswith(".pt"):
            return _export(load_detector(test_data / "weights" / name), path)
        file, classes = name.split(":")
        model = DetectionModel(file, nc=int(classes), verbose=False).eval()
        model.end2end = False
        return _export(model.fuse(verbose=False).eval(), path)

    return make
