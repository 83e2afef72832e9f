"""An export from claim to published artifact, step by step; each step says what it does and fails with its name."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx
from ultralytics.nn.tasks import BaseModel

from visionyard.export.key import MAX_CANDIDATES, OPSET
from visionyard.export.worker.comparison import Comparer, ImageComparison, report, summarise
from visionyard.export.worker.graph import INPUT_NAME, OUTPUT_NAMES, ServingGraph, check_onnx, write_onnx
from visionyard.export.worker.images import choose_pictures
from visionyard.export.worker.weights import load_detector, stride_of
from visionyard.kit.artifacts.exported import (
    COMPARISON_FILE,
    METADATA_FILE,
    MODEL_FILE,
    Artifact,
    ArtifactFormat,
    Comparison,
    publish_artifact,
    put_blob,
)
from visionyard.kit.artifacts.model import ModelVersion, fetch_weights
from visionyard.kit.cpus import usable_cpus
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.context import JobContext
from visionyard.kit.names import ArtifactName

_log = logging.getLogger(__name__)


def build(context: JobContext, model: ModelVersion, name: ArtifactName, key: dict[str, str], dataset_version: str) -> Artifact:
    """Builds, checks, compares and publishes an artifact.

    Args:
        context: The job's.
        model: The source.
        name: The artifact's name, from its key.
        key: All that defines it.
        dataset_version: What to compare it on; empty for the model's own.

    Raises:
        YardError: WEIGHTS_UNREADABLE, UNSUPPORTED_TASK, ARTIFACT_CORRUPT, EXPORT_FAILED, EXPORT_MISMATCH, DATASET_NOT_FOUND, DATASET_VERSION_NOT_FOUND.
    """
    with _step(context, "opening weights"):
        source = load_detector(fetch_weights(context.store, model, context.scratch / "weights.pt"))
    folder = context.scratch / "artifact"
    folder.mkdir()
    with _step(context, "exporting"):
        graph = ServingGraph(copy.deepcopy(source), MAX_CANDIDATES).eval()
        write_onnx(graph, folder / MODEL_FILE, OPSET)
    with _step(context, "checking"):
        check_onnx(folder / MODEL_FILE)
    with _step(context, "comparing"):
        comparison = _compare(context, model, source, folder, dataset_version)
    with _step(context, "storing"):
        _write_json(folder / METADATA_FILE, _metadata(model, key, source, nms_applied=graph.nms_applied))
        return _store(context, model, name, key, folder, comparison, stride_of(source), nms_applied=graph.nms_applied)


@contextmanager
def _step(context: JobContext, phase: str) -> Iterator[None]:
    """Reports a step, gives a cancelled job the chance to stop, and names the step in what fails unexpectedly inside."""
    context.check()
    context.report(phase)
    _log.info("%s", phase)
    try:
        yield
    except (RuntimeError, ValueError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        _log.exception("step %r failed", phase)
        raise YardError(
            Reason.EXPORT_FAILED,
            f"the export failed while {phase} ({type(error).__name__}); the job's log has the details: yard job logs {context.job.name.id}",
            {"step": phase},
        ) from error


def _compare(context: JobContext, model: ModelVersion, source: BaseModel, folder: Path, dataset_version: str) -> Comparison:
    chosen = choose_pictures(context.store, model, dataset_version)
    comparer = Comparer(folder / MODEL_FILE, source, model.image_size_px, stride_of(source), threads=usable_cpus())
    images: list[ImageComparison] = []
    for picture in chosen.pictures():
        context.check()
        images.append(comparer.compare(picture))
        context.report("comparing", len(images), chosen.count, "images")
    comparison = summarise(chosen.described, images)
    _write_json(folder / COMPARISON_FILE, report(comparison, images))
    return comparison


def _metadata(model: ModelVersion, key: dict[str, str], source: BaseModel, *, nms_applied: bool) -> dict[str, Any]:
    """What a program that has the graph only must know of it."""
    return {
        "model_version": str(model.name),
        "key": key,
        "input": {"name": INPUT_NAME, "dtype": "uint8", "shape": ["batch", "height", "width", 3], "channels": "RGB"},
        "outputs": list(OUTPUT_NAMES),
        "max_candidates": MAX_CANDIDATES,
        "nms_applied": nms_applied,
        "class_names": list(model.class_names),
        "stride_px": stride_of(source),
        "image_size_px": model.image_size_px,
    }


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n")


def _store(
    context: JobContext,
    model: ModelVersion,
    name: ArtifactName,
    key: dict[str, str],
    folder: Path,
    comparison: Comparison,
    stride_px: int,
    *,
    nms_applied: bool,
) -> Artifact:
    project = name.version.parent.project
    # From here to the end nothing asks whether to stop: it takes a moment, and stopping in between would leave files that nothing names.
    files = [put_blob(context.store, project, path, folder / path) for path in (MODEL_FILE, METADATA_FILE, COMPARISON_FILE)]
    artifact = Artifact(
        name=name,
        format=ArtifactFormat.ONNX,
        key=key,
        digest=f"sha256:{files[0].sha256}",
        size_bytes=files[0].size_bytes,
        class_names=model.class_names,
        stride_px=stride_px,
        image_size_px=model.image_size_px,
        max_candidates=MAX_CANDIDATES,
        nms_applied=nms_applied,
        comparison=comparison,
        files=tuple(files),
    )
    return publish_artifact(context.store, artifact)
