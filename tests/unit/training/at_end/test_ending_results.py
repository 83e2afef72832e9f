"""Which results the command at the end waits for, and until when: those of trainings, and of searches. Over a store in memory."""

from datetime import UTC, datetime

import pytest
from ending_machine import BEST, HERE, LAST

from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.model import ModelFile, ModelVersion
from visionyard.kit.jobs.model import JobKind, JobState
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.port import StoreUnavailable
from visionyard.training.spec import TrainingSpec
from visionyard.training.tuning.search import Result, Search, Trial, TrialState, TuningSpec
from visionyard.training.tuning.space import Parameter

MODEL = ResourceName("default", "models", "found")
BEGAN = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TRAINING = TrainingSpec("projects/default/datasets/d/versions/1", str(MODEL), architecture="yolov8n.yaml", epochs=9)
SEARCH = TuningSpec(TRAINING, (Parameter("lr0", 0.0, 1.0),), "metrics/mAP50(B)", trials=3)


def test_a_result_on_this_machine_only_keeps_it_until_it_was_downloaded(machine):
    machine.elsewhere = False
    job = machine.ends(machine.trains())
    why = machine.looks()
    assert "weights/best.pt of job" in why
    assert "--keep-local" in why
    machine.ending.safety.downloaded(job.pointers["files"][LAST]["key"])
    machine.looks()
    assert machine.ran == 0
    machine.ending.safety.downloaded(job.pointers["files"][BEST]["key"])
    machine.restart()  # downloads are remembered too
    assert "for 0 of 60 s" in machine.looks(0), "more may be about to be downloaded"
    machine.looks()
    assert machine.ran == 1


def test_a_download_of_several_files_is_not_cut_off(machine):
    machine.elsewhere = False
    job = machine.ends(machine.trains())
    machine.looks(3600)
    machine.ending.safety.downloaded(job.pointers["files"][BEST]["key"])
    machine.looks(30)
    assert machine.ran == 0
    machine.looks(40)
    assert machine.ran == 1


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.CANCELLED])
def test_of_a_training_that_did_not_end_well_the_last_epoch_counts(machine, state):
    machine.elsewhere = False
    job = machine.ends(machine.trains(), state)
    assert f"weights/last.pt of job {job.name.id}" in machine.looks()
    machine.ending.safety.downloaded(job.pointers["checkpoint"]["files"][LAST]["key"])
    machine.looks()
    assert machine.ran == 1


def test_one_that_came_to_nothing_keeps_nobody(machine):
    machine.elsewhere = False
    machine.ends(machine.trains(), JobState.FAILED, {})
    machine.looks()
    assert machine.ran == 1


def test_a_result_that_is_damaged_or_gone_in_the_store_keeps_the_machine(machine):
    entry = machine.stored()
    machine.store.put(entry["key"], b"wei9hts")
    machine.ends(machine.trains(), files={BEST: entry})
    assert "damaged" in machine.looks()
    machine.store.delete(entry["key"])
    assert "damaged" in machine.looks(400)
    assert machine.ran == 0
    machine.stored()
    machine.looks(400)
    machine.looks()
    assert machine.ran == 1


def published(machine, number=1, data=b"best"):
    """A version of the trials' model; its name and its weights' key."""
    entry = machine.stored(data)
    files = {"best.pt": ModelFile(entry["key"], entry["size_bytes"], entry["sha256"])}
    body = ModelVersion(VersionName(MODEL, None), "sha256:" + entry["sha256"], "detect", ("a",), 1, 64, 32, "", "best.pt", files).body()
    return str(versions.publish(machine.store, MODEL, body, f"job-{number}").name), entry["key"]


def search_of(best=""):
    """The pointers of a search, with a best trial where a version is given."""
    results = (Result(0, 1, 0.5, best),) if best else ()
    return Search(SEARCH, (Trial(1, {}, BEGAN, "j1", TrialState.STOPPED, results=results),)).pointers()


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.CANCELLED, JobState.FAILED])
def test_of_a_search_the_best_trial_counts_however_it_ended(machine, state):
    machine.elsewhere = False
    best, key = published(machine)
    search = machine.job(JobKind.TUNING, SEARCH.to_json())
    machine.ends(machine.trains(spec={"tuning_job": str(search)}))
    assert machine.looks() == "tuning jobs: 0 run, 1 wait"
    made = {"model_version": best} if state is JobState.SUCCEEDED else {}
    machine.change(search, JobKind.TUNING, state=state, pointers={**search_of(best), **made})
    assert "the model found@1" in machine.looks()
    assert machine.ran == 0
    machine.ending.safety.downloaded(key)
    machine.looks()
    assert machine.ran == 1


def test_a_search_without_a_result_keeps_nobody(machine):
    machine.elsewhere = False
    search = machine.job(JobKind.TUNING, SEARCH.to_json())
    machine.ends(machine.trains(spec={"tuning_job": str(search)}))
    machine.change(search, JobKind.TUNING, state=JobState.CANCELLED, pointers=search_of())
    machine.looks()
    assert machine.ran == 1


def test_a_trial_that_is_resumed_behind_its_search_counts_by_itself(machine):
    machine.elsewhere = False
    search = machine.job(JobKind.TUNING, SEARCH.to_json())
    machine.change(search, JobKind.TUNING, state=JobState.CANCELLED, pointers=search_of())
    name = machine.trains(spec={"tuning_job": str(search)})
    machine.ends(name)
    assert name.id in machine.looks()
    assert machine.ran == 0


def test_a_store_that_is_away_keeps_no_claimed_trial_from_beginning(machine):
    machine.elsewhere = False
    search = machine.job(JobKind.TUNING, SEARCH.to_json())
    job = machine.change(machine.job(spec={"tuning_job": str(search)}), state=JobState.RUNNING, attempt=1, node=HERE)
    read = machine.store.get

    def away(*_):
        raise StoreUnavailable("away")

    machine.store.get = away
    machine.ending.remember(job)
    machine.store.get = read
    machine.change(search, JobKind.TUNING, state=JobState.CANCELLED, pointers=search_of())
    machine.ends(job.name)
    assert job.name.id in machine.looks()


def test_other_projects_do_not_read_whose_result_is_waited_for(machine):
    machine.elsewhere = False
    machine.ends(machine.trains())
    assert "best.pt of job" in machine.looks()
    assert machine.ending.waits_for("other") == "a result of another project is not safe yet"


def test_a_damaged_file_is_not_read_again_and_again(machine):
    entry = machine.stored()
    machine.store.put(entry["key"], b"wei9hts")
    machine.ends(machine.trains(), files={BEST: entry})
    opened, reads = machine.store.open, []
    machine.store.open = lambda *arguments: (reads.append(arguments), opened(*arguments))[1]
    for _ in range(20):
        machine.looks(2)
    assert len(reads) == 1
    machine.ending.safety.downloaded(entry["key"])
    machine.looks()
    assert machine.ran == 1, "somebody has it"


def test_a_document_that_nobody_understands_keeps_the_machine_and_says_so(machine):
    machine.ends(machine.trains(), files={BEST: {"key": "x"}})
    assert "cannot be told (KeyError)" in machine.looks()
    assert machine.ran == 0
