"""The export worker: ``python -m visionyard.export.worker --job NAME --attempt N``, started by the service."""

from __future__ import annotations

import sys
from typing import Any

from visionyard.export.config import ExportSettings
from visionyard.export.key import artifact_key, artifact_name, exporter_versions
from visionyard.export.specification import ExportSpecification
from visionyard.kit import ultralytics_env
from visionyard.kit.artifacts.exported import find_artifact
from visionyard.kit.artifacts.model import read_model_version
from visionyard.kit.cpus import usable_cpus
from visionyard.kit.jobs.context import JobContext
from visionyard.kit.jobs.model import JobKind
from visionyard.kit.jobs.worker import run


def export(context: JobContext) -> dict[str, Any]:
    """Does one export job; an artifact that is there already is the result, without anything being opened.

    Returns:
        The pointer ``artifact``, its name.

    Raises:
        YardError: what :func:`visionyard.export.worker.steps.build` raises, MODEL_NOT_FOUND, MODEL_VERSION_NOT_FOUND.
    """
    context.report("looking for the artifact")
    specification = ExportSpecification.from_json(context.job.spec)
    model = read_model_version(context.store, specification.model_version)
    key = artifact_key(model, specification.format, exporter_versions())
    name = artifact_name(model, key)
    artifact = find_artifact(context.store, name)
    if artifact is None:
        # Exports run on the CPU: tracing needs no GPU, and the GPUs belong to training and serving.
        threads = {"OMP_NUM_THREADS": str(usable_cpus()), "CUDA_VISIBLE_DEVICES": ""}
        ultralytics_env.prepare(context.scratch.resolve() / "config", threads)
        from visionyard.export.worker.steps import build  # noqa: PLC0415 - imports torch, which takes seconds, and reads the environment set above

        artifact = build(context, model, name, key, specification.dataset_version)
    return {"artifact": str(artifact.name)}


if __name__ == "__main__":
    sys.exit(run(JobKind.EXPORT, export, ExportSettings))
