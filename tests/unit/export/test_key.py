"""What is part of an artifact's key, and what is not."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from importlib import metadata

import pytest

from visionyard.export.key import artifact_key, artifact_name, exporter_versions
from visionyard.kit.artifacts.exported import ArtifactFormat, key_digest
from visionyard.kit.artifacts.model import ModelVersion
from visionyard.kit.names import ArtifactName, ResourceName, VersionName

_MODEL = ModelVersion(
    name=VersionName(ResourceName("default", "models", "m"), 3),
    digest="sha256:abc",
    task="detect",
    class_names=("a",),
    parameter_count=1,
    image_size_px=640,
    stride=32,
    architecture="",
    weights="w.pt",
    files={},
)
_VERSIONS = {"torch": "2.14.1", "onnx": "1.23.2", "ultralytics": "8.4.190"}


def test_holds_all_that_defines_an_artifact() -> None:
    assert artifact_key(_MODEL, ArtifactFormat.ONNX, _VERSIONS) == {
        "model_digest": "sha256:abc",
        "image_size_px": "640",
        "format": "onnx",
        "precision": "fp32",
        "graph_revision": "1",
        "opset": "18",
        "max_candidates": "1000",
        "torch_version": "2.14.1",
        "onnx_version": "1.23.2",
        "ultralytics_version": "8.4.190",
    }


def test_changes_with_what_defines_it_only() -> None:
    digest = key_digest(artifact_key(_MODEL, ArtifactFormat.ONNX, _VERSIONS))
    other_dataset = dataclasses.replace(_MODEL, dataset_version="projects/default/datasets/d/versions/1", training_job="t")
    assert key_digest(artifact_key(other_dataset, ArtifactFormat.ONNX, _VERSIONS)) == digest
    for change in ({"digest": "sha256:abd"}, {"image_size_px": 320}):
        assert key_digest(artifact_key(dataclasses.replace(_MODEL, **change), ArtifactFormat.ONNX, _VERSIONS)) != digest
    for name in _VERSIONS:
        assert key_digest(artifact_key(_MODEL, ArtifactFormat.ONNX, {**_VERSIONS, name: "9"})) != digest


def test_digest_does_not_depend_on_order_and_is_a_valid_name() -> None:
    key = artifact_key(_MODEL, ArtifactFormat.ONNX, _VERSIONS)
    assert key_digest(dict(reversed(key.items()))) == key_digest(key)
    name = artifact_name(_MODEL, key)
    assert ArtifactName.parse(str(name)) == name
    assert str(name) == f"projects/default/models/m/versions/3/artifacts/{key_digest(key)}"


def test_versions_come_from_the_installed_packages_without_importing_them() -> None:
    versions = exporter_versions()
    assert versions["torch"] == metadata.version("torch")
    assert versions["onnx"] == metadata.version("onnx")
    assert versions["ultralytics"]
    code = "import sys; from visionyard.export.key import exporter_versions; exporter_versions(); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


def test_a_package_that_is_missing_is_an_error() -> None:
    def version_of(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    with pytest.raises(metadata.PackageNotFoundError):
        exporter_versions(version_of)
