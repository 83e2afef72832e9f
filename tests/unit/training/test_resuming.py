"""Asking for a resumption again: an answer may have been lost."""

from __future__ import annotations

from typing import Any

import pytest

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import JobState
from visionyard.kit.names import ResourceName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.training.limits import Spent, spent_in_all
from visionyard.training.mapping import job_to_proto
from visionyard.training.spec import TrainingSpec
from visionyard.training.trainings import Trainings

SPEC = TrainingSpec("projects/default/datasets/d/versions/1", "projects/default/models/m", architecture="yolov8n.yaml", epochs=3)


@pytest.fixture
def trainings() -> Trainings:
    return Trainings(MemoryObjectStore(), lambda: pytest.fail("nothing of Ultralytics is needed"))


@pytest.fixture
def failed(trainings: Trainings) -> ResourceName:
    name = trainings.jobs.create("default", SPEC.to_json(), "").name
    _becomes(trainings, name, state=JobState.FAILED, attempt=1, pointers=_trained(2))
    return name


def _trained(epochs: int) -> dict[str, Any]:
    return {"checkpoint": {"epoch": epochs, "ended": False, "files": {}}}


def _becomes(trainings: Trainings, name: ResourceName, **changes: Any) -> None:
    trainings.jobs.records.update(name, lambda job, _: job.changed(**changes))


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.SUCCEEDED])
@pytest.mark.parametrize("epochs", [4, 5])
def test_the_same_again_changes_nothing_however_far_it_is(trainings: Trainings, failed: ResourceName, state: JobState, epochs: int) -> None:
    assert trainings.resume(failed, 5).job.resumptions == 1
    if state is not JobState.QUEUED:
        _becomes(trainings, failed, state=state, attempt=2, pointers=_trained(5 if state is JobState.SUCCEEDED else epochs))
    again = trainings.resume(failed, 5).job
    assert (again.state, again.resumptions, again.spec["epochs"]) == (state, 1, 5)


def test_something_else_is_refused_while_it_runs(trainings: Trainings, failed: ResourceName) -> None:
    trainings.resume(failed, 5)
    _becomes(trainings, failed, state=JobState.RUNNING, attempt=2)
    with pytest.raises(YardError) as refused:
        trainings.resume(failed, 6)
    assert refused.value.reason is Reason.JOB_UNFINISHED


def test_as_many_epochs_as_it_has_are_refused_where_it_was_not_resumed(trainings: Trainings, failed: ResourceName) -> None:
    with pytest.raises(YardError) as refused:
        trainings.resume(failed, 2)
    assert refused.value.reason is Reason.INVALID_FIELD


@pytest.mark.parametrize("more", [None, 5])
def test_a_resumption_forgets_nothing_of_what_was_paid_and_begins_the_limits_anew(
    trainings: Trainings, failed: ResourceName, more: int | None
) -> None:
    for attempt in (2, 3):
        before = trainings.jobs.get(failed).pointers
        spent = Spent(3600, 2.5, "EUR").to_json()
        _becomes(trainings, failed, state=JobState.FAILED, attempt=attempt, pointers={**before, **_trained(2), "spent": spent})
        resumed = trainings.resume(failed, more + attempt if more else 0)
        assert "spent" not in resumed.job.pointers, "the limits count anew"
    assert spent_in_all(resumed.job.pointers) == Spent(7200, 5, "EUR")
    assert spent_in_all({**resumed.job.pointers, "spent": Spent(60).to_json()}) == Spent(7260, 5, "EUR")
    assert job_to_proto(resumed).cost.amount == 5
