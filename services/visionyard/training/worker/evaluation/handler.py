"""An evaluation job from its claim to its result; a model that an earlier attempt has validated is not validated again.

``job.pointers["evaluated"]`` keeps each finished model by its position (``"0"``, ``"1"``): ``{"result": {"key": ...}, "pictures": {"key": ...}}``;
``job.pointers["comparison"]`` the whole result.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from visionyard.kit.artifacts.dataset import DatasetVersion, read_dataset_version
from visionyard.kit.artifacts.materialise import materialise
from visionyard.kit.artifacts.model import fetch_weights, read_model_version
from visionyard.kit.jobs.context import JobContext
from visionyard.kit.names import VersionName
from visionyard.training.config import TrainingSettings
from visionyard.training.evaluations import EvaluationSpec
from visionyard.training.reports.comparison import COMPARISON_FILE, differences
from visionyard.training.worker.handler import PASSED_ON, failure
from visionyard.training.worker.offline import prepare_training


def handle(context: JobContext) -> dict[str, Any]:
    """Does the job; returns the pointer ``comparison``.

    Raises:
        YardError: what went wrong, for people: OUT_OF_MEMORY, DISK_FULL, TRAINING_FAILED, ARTIFACT_CORRUPT, ...
        JobCancelled, Preempted, LeaseLost: the job must stop.
    """
    spec = EvaluationSpec.from_json(context.job.spec)
    context.report("preparing")
    prepare_training(context.scratch)
    names = (spec.first_model_version, spec.second_model_version)
    evaluated = dict(context.job.pointers.get("evaluated") or {})
    missing = [at for at in range(len(names)) if str(at) not in evaluated]
    if missing:
        settings = cast("TrainingSettings", context.settings)
        version = read_dataset_version(context.store, VersionName.parse(spec.dataset_version, "datasets"))

        def fetched(done: int, total: int) -> None:
            context.check()
            context.report("fetching images", done, total, "images")

        with materialise(context.store, version, settings.work_dir / "datasets", settings.dataset_cache_bytes, fetched) as folder:
            for at in missing:
                same = next((evaluated[done] for done in evaluated if names[int(done)] == names[at]), None)
                evaluated[str(at)] = same or _evaluate(context, names[at], at, version, folder, spec.split)
                context.point(evaluated=evaluated)
    return {"comparison": _compare(context, names, [evaluated[str(at)] for at in range(len(names))])}


def _evaluate(context: JobContext, name: str, at: int, version: DatasetVersion, folder: Path, split: str) -> dict[str, Any]:
    """Validates one model and stores what it found; returns its pointers."""
    model = read_model_version(context.store, VersionName.parse(name, "models"))
    context.report(f"fetching {model.name.parent.id}@{model.name.number}")
    target = context.scratch / f"model-{at}"
    target.mkdir(exist_ok=True)
    weights = fetch_weights(context.store, model, target / "model.pt")
    try:
        # Only now, with the lease beating: torch takes seconds to import.
        from visionyard.training.worker.evaluation.validation import validate  # noqa: PLC0415 - see the line above

        return validate(context, model, weights, version.task, folder, split)
    except PASSED_ON:
        raise
    except Exception as error:  # the last line of defence: the job failed in validation
        raise failure(error, context.job.name.id, "validation") from error


def _compare(context: JobContext, names: tuple[str, ...], evaluated: list[dict[str, Any]]) -> dict[str, Any]:
    """Puts the models' results together and stores them; returns the pointer."""
    context.report("comparing")
    results = [json.loads(context.store.get(entry["result"]["key"]).data) for entry in evaluated]
    errors = [{image: (counts[0], counts[1]) for image, counts in result["errors"].items()} for result in results]
    document = {
        "version": 1,
        "models": [
            {
                "model_version": name,
                "parameter_count": result["parameter_count"],
                "findings": result["findings"],
                "pictures": entry["pictures"],
            }
            for name, result, entry in zip(names, results, evaluated, strict=True)
        ],
        **differences(errors[0], errors[1], results[0]["findings"]["image_count"]),
    }
    key = f"{context.attempt_prefix}{COMPARISON_FILE}"
    context.store.put(key, json.dumps(document).encode())
    return {"key": key}
