"""Serving graphs small enough to make in a moment, with the real one's inputs and outputs, and artifacts of them in a store."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from visionyard.kit.artifacts import exported, versions
from visionyard.kit.artifacts.exported import Artifact, ArtifactFormat, Comparison
from visionyard.kit.artifacts.model import ModelFile, ModelVersion
from visionyard.kit.names import ArtifactName, ResourceName, VersionName
from visionyard.kit.objectstore.port import ObjectStore

CLASS_NAMES = ("first", "second", "third")
CANDIDATES = 8


def tiny_graph(path: Path, class_id: int) -> Path:
    """One box of `class_id` in the input's upper left corner, 10 to 30 pixels, as sure as the picture is bright; seven candidates that are none."""
    boxes = np.zeros((1, CANDIDATES, 4), np.float32)
    boxes[0, 0] = (10, 10, 30, 30)
    sure = np.full((1, CANDIDATES), 0, np.float32)
    sure[0, 0] = 1 / 255
    absent = np.full((1, CANDIDATES), -1, np.float32)
    absent[0, 0] = 0
    constants = {
        "box": boxes,
        "sure": sure,
        "absent": absent,
        "class": np.full((1, CANDIDATES), class_id, np.int32),
        "anchor": np.arange(CANDIDATES, dtype=np.int32)[None],
        "axes": np.array([1, 2, 3], np.int64),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "k": np.array([CANDIDATES], np.int64),
        "k4": np.array([CANDIDATES, 4], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "axes"], ["mean4"], keepdims=1),
        helper.make_node("Flatten", ["mean4"], ["mean"], axis=1),
        helper.make_node("Mul", ["mean", "sure"], ["brightness"]),
        helper.make_node("Add", ["brightness", "absent"], ["scores"]),
        helper.make_node("Shape", ["images"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one"], ["n"]),
        helper.make_node("Concat", ["n", "k"], ["nk"], axis=0),
        helper.make_node("Concat", ["n", "k4"], ["nk4"], axis=0),
        helper.make_node("Expand", ["box", "nk4"], ["boxes"]),
        helper.make_node("Expand", ["class", "nk"], ["classes"]),
        helper.make_node("Expand", ["anchor", "nk"], ["anchors"]),
    ]
    inputs = [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", "height", "width", 3])]
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", CANDIDATES, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", CANDIDATES]),
        helper.make_tensor_value_info("classes", TensorProto.INT32, ["batch", CANDIDATES]),
        helper.make_tensor_value_info("anchors", TensorProto.INT32, ["batch", CANDIDATES]),
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    return path


def publish(
    store: ObjectStore,
    graph: Path,
    *,
    model: str = "tiny",
    class_names: tuple[str, ...] = CLASS_NAMES,
    max_candidates: int = CANDIDATES,
    image_size_px: int = 64,
) -> Artifact:
    """Publishes a new version of `model`, and `graph` as its artifact."""
    parent = ResourceName("default", "models", model)
    sha256 = hashlib.sha256(graph.read_bytes()).hexdigest()
    body = ModelVersion(
        name=VersionName(parent, None),
        digest=f"sha256:{sha256}",
        task="detect",
        class_names=class_names,
        parameter_count=1,
        image_size_px=image_size_px,
        stride=32,
        architecture="",
        weights="best.pt",
        files={"best.pt": ModelFile(f"projects/default/blobs/{sha256}", 1, sha256)},
    ).body()
    version = versions.publish(store, parent, body, made_by=f"{sha256} {len(list(versions.list_versions(store, parent)))}")
    key = {"graph": sha256}
    file = exported.put_blob(store, "default", exported.MODEL_FILE, graph)
    return exported.publish_artifact(
        store,
        Artifact(
            name=ArtifactName(version.name, exported.key_digest(key)),
            format=ArtifactFormat.ONNX,
            key=key,
            digest=f"sha256:{sha256}",
            size_bytes=file.size_bytes,
            class_names=class_names,
            stride_px=32,
            image_size_px=image_size_px,
            max_candidates=max_candidates,
            nms_applied=False,
            comparison=Comparison("nothing", 1, 0.0, 0.0, 1.0, 1.0, 0),
            files=(file,),
        ),
    )
