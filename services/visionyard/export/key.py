"""What defines an artifact: the same key is never built twice."""

from __future__ import annotations

from collections.abc import Callable
from importlib import metadata

from visionyard.kit.artifacts.exported import ArtifactFormat, key_digest
from visionyard.kit.artifacts.model import ModelVersion
from visionyard.kit.names import ArtifactName

GRAPH_REVISION = 1
"""Counted up whenever the serving graph's inputs, outputs or arithmetic change, so that older artifacts are not taken for new ones."""
OPSET = 18
"""The ONNX operator set that the graph is written in; ONNX Runtime 1.14 and TensorRT 8.6 and later read it."""
MAX_CANDIDATES = 1000
"""How many pairs of a box and a class the graph gives out for an image; TensorRT's TopK ends at 3840."""
PRECISION = "fp32"
"""The arithmetic inside of the graph."""
_EXPORTERS = {"torch": ("torch",), "onnx": ("onnx",), "ultralytics": ("ultralytics", "ultralytics-opencv-headless")}
"""The packages that decide what is written, by the names under which they may be installed."""


def exporter_versions(version_of: Callable[[str], str] = metadata.version) -> dict[str, str]:
    """The versions of the packages that write the graph, read from their metadata, so that nothing heavy is imported.

    Raises:
        importlib.metadata.PackageNotFoundError: one of them is not installed.
    """
    return {name: _first_version(candidates, version_of) for name, candidates in _EXPORTERS.items()}


def _first_version(candidates: tuple[str, ...], version_of: Callable[[str], str]) -> str:
    for distribution in candidates[:-1]:
        try:
            return version_of(distribution)
        except metadata.PackageNotFoundError:
            continue
    return version_of(candidates[-1])


def artifact_key(model: ModelVersion, artifact_format: ArtifactFormat, versions: dict[str, str]) -> dict[str, str]:
    """All that defines an artifact; what it was compared on is not part of it.

    Args:
        model: The source.
        artifact_format: The kind of file.
        versions: From :func:`exporter_versions`.
    """
    return {
        "model_digest": model.digest,
        "image_size_px": str(model.image_size_px),
        "format": artifact_format.value,
        "precision": PRECISION,
        "graph_revision": str(GRAPH_REVISION),
        "opset": str(OPSET),
        "max_candidates": str(MAX_CANDIDATES),
        **{f"{name}_version": version for name, version in versions.items()},
    }


def artifact_name(model: ModelVersion, key: dict[str, str]) -> ArtifactName:
    """The name of the artifact with that key."""
    return ArtifactName(model.name, key_digest(key))
