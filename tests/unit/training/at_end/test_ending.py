"""When the command at the end runs: once, when nothing is to do and no result would be lost. Over a store in memory."""

import hashlib
import socket
from datetime import UTC, datetime

import pytest

from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.model import ModelFile, ModelVersion
from visionyard.kit.jobs.model import JobKind, JobState
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.names import ResourceName, VersionName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.objectstore.port import StoreUnavailable
from visionyard.training.at_end.command import CommandFailed, Interrupted
from visionyard.training.at_end.ending import Ending
from visionyard.training.at_end.results import Safety
from visionyard.training.notifications.outbox import PREFIX as MESSAGES
from visionyard.training.spec import TrainingSpec
from visionyard.training.tuning.search import Result, Search, Trial, TrialState, TuningSpec
from visionyard.training.tuning.space import Parameter

HERE, THERE = f"{socket.gethostname()}:/w", "other:/w"
MODEL = ResourceName("default", "models", "found")
BEGAN = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
TRAINING = TrainingSpec("projects/default/datasets/d/versions/1", str(MODEL), architecture="yolov8n.yaml", epochs=9)
SEARCH = TuningSpec(TRAINING, (Parameter("lr0", 0.0, 1.0),), "metrics/mAP50(B)", trials=3)
BEST, LAST = "weights/best.pt", "weights/last.pt"


class Machine:
    """A machine with an ending, its clock and its command."""

    def __init__(self, folder):
        self.store, self.folder = MemoryObjectStore(), folder
        self.now, self.ran, self.fails, self.elsewhere = 0.0, 0, 0, True
        self.life, self.interrupted = "first", False
        self.restart()

    def restart(self):
        """The service begins anew on the same machine."""
        safety = Safety(self.store, self.folder / "downloads", lambda: self.elsewhere, lambda: self.now)
        self.ending = Ending(self.store, "off", safety, 60.0, self.folder, self._run, lambda: self.now, self.life)
        self.records = {kind: JobRecords(self.store, kind) for kind in JobKind}

    def boots(self):
        """The machine was off, and is started by somebody."""
        self.life += "'"
        self.restart()

    def _run(self, command, timeout_s, folder):
        self.ran += 1
        assert command == "off"
        if self.interrupted:
            raise Interrupted("it was interrupted")
        if self.ran <= self.fails:
            raise CommandFailed("it ended with status 1")
        return ""

    def job(self, kind=JobKind.TRAINING, spec=None):
        return self.records[kind].create("default", spec or {}, "", "")[0].name

    def change(self, name, kind=JobKind.TRAINING, **values):
        return self.records[kind].update(name, lambda job, now: job.changed(**values))

    def trains(self, kind=JobKind.TRAINING, spec=None, node=HERE):
        name = self.job(kind, spec)
        job = self.change(name, kind, state=JobState.RUNNING, attempt=1, node=node)
        if node == HERE:
            self.ending.remember(job)
        return name

    def stored(self, data=b"weights"):
        sha256 = hashlib.sha256(data).hexdigest()
        key = f"projects/default/blobs/{sha256}"
        self.store.put(key, data)
        return {"key": key, "size_bytes": len(data), "sha256": sha256}

    def ends(self, name, state=JobState.SUCCEEDED, files=None):
        files = {BEST: self.stored(), LAST: self.stored(b"last")} if files is None else files
        pointers = {"files": files} if state is JobState.SUCCEEDED else {"checkpoint": {"epoch": 2, "files": files}}
        return self.change(name, state=state, node="", pointers=pointers)

    def looks(self, seconds=120.0):
        """Looks, lets time pass, and looks again; tells what is waited for."""
        self.ending.look()
        self.now += seconds
        self.ending.look()
        return self.ending.waits_for("default")


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "at_end")


def test_it_runs_once_when_all_has_ended_and_is_safe(machine):
    first, second = machine.trains(), machine.trains()
    assert machine.looks() == "training jobs: 2 run, 0 wait"
    machine.ends(first)
    assert machine.looks() == "training jobs: 1 run, 0 wait"
    machine.ends(second)
    assert machine.looks(59) == "nothing has been to do, and all is safe, for 59 of 60 s"
    assert machine.ran == 0
    assert machine.looks() == ""
    assert machine.ran == 1
    assert machine.looks() == ""
    assert machine.ran == 1


def test_where_nothing_was_trained_nothing_runs(machine):
    machine.looks()
    cancelled = machine.job()
    machine.change(cancelled, state=JobState.CANCELLED)
    assert machine.looks() == ""
    assert machine.ran == 0


def test_a_machine_that_comes_back_is_not_switched_off_again(machine):
    machine.ends(machine.trains())
    machine.looks()
    machine.boots()
    machine.looks()
    assert machine.ran == 1
    machine.ends(machine.trains())
    machine.looks()
    assert machine.ran == 2


def test_one_that_was_stopped_within_the_quiet_time_is_not_switched_off_when_it_is_back(machine):
    machine.elsewhere = False
    first = machine.ends(machine.trains())
    machine.looks(10)
    machine.boots()
    assert machine.looks(1000) == ""
    assert machine.ran == 0
    second = machine.ends(machine.trains())
    machine.ending.safety.downloaded(second.pointers["files"][BEST]["key"])
    machine.ends(machine.trains(), files={BEST: machine.stored(b"other"), LAST: machine.stored(b"last")})
    assert "other one" in machine.looks(1000), "what it trained before is looked after too"
    machine.ending.safety.downloaded(first.pointers["files"][BEST]["key"])
    assert machine.ran == 0


def test_a_service_that_begins_anew_knows_what_was_trained(machine):
    name = machine.trains()
    machine.ends(name)
    machine.restart()
    machine.looks()
    assert machine.ran == 1


@pytest.mark.parametrize("kind", list(JobKind))
def test_whatever_waits_keeps_the_machine(machine, kind):
    machine.ends(machine.trains())
    waiting = machine.job(kind)
    assert machine.looks() == f"{kind.value} jobs: 0 run, 1 wait"
    machine.change(waiting, kind, state=JobState.CANCELLED)
    machine.looks()
    assert machine.ran == 1


def test_what_runs_elsewhere_does_not_keep_it(machine):
    machine.ends(machine.trains())
    machine.trains(node=THERE)
    machine.looks()
    assert machine.ran == 1


def test_a_new_training_begins_the_quiet_time_anew(machine):
    machine.ends(machine.trains())
    machine.looks(30)
    name = machine.trains()
    machine.looks(100)
    machine.ends(name)
    assert "0 of 60 s" in machine.looks(0)
    assert machine.ran == 0


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


def test_a_training_that_is_taken_over_counts_where_it_is_now(machine):
    """Claimed by a service under another name (a container that was made anew), whose worker died, and taken over by this one."""
    machine.elsewhere = False
    name = machine.trains(node=THERE)
    machine.ending.remember(machine.change(name, attempt=2, node=HERE))
    machine.ends(name)
    assert name.id in machine.looks()
    assert machine.ran == 0


def test_one_that_began_here_keeps_the_machine_wherever_it_goes_on(machine):
    name = machine.trains()
    machine.change(name, attempt=2, node=THERE)
    assert machine.looks() == "1 jobs that began here go on elsewhere"
    machine.ends(name)
    machine.looks()
    assert machine.ran == 1


def test_a_worker_that_outlived_a_service_without_the_command_is_seen(machine):
    machine.elsewhere = False
    name = JobRecords(machine.store, JobKind.TRAINING).create("default", {}, "", "")[0].name
    JobRecords(machine.store, JobKind.TRAINING).update(name, lambda job, now: job.changed(state=JobState.RUNNING, attempt=1, node=HERE))
    machine.looks()
    machine.ends(name)
    assert name.id in machine.looks()
    assert machine.ran == 0


def test_what_comes_while_files_are_read_back_counts(machine):
    machine.ends(machine.trains())
    machine.looks(30)
    machine.now += 100
    reads = machine.store.open

    def open_slowly(*arguments):
        machine.trains()
        return reads(*arguments)

    machine.store.open = open_slowly
    machine.ending.safety.look_again()
    machine.ending.look()
    assert machine.ran == 0


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


def test_a_full_disk_does_not_keep_the_machine(machine):
    machine.ends(machine.trains())
    machine.folder.joinpath("jobs.json.new").mkdir()  # nothing can be written there any more
    machine.looks()
    assert machine.ran == 1
    machine.looks()
    assert machine.ran == 1


def test_messages_go_first_but_not_for_ever(machine):
    machine.ends(machine.trains())
    machine.store.put(f"{MESSAGES}default/x.finished.1", b"{}")
    assert machine.looks() == "messages are still to be delivered"
    machine.looks(600)
    assert machine.ran == 1


def test_a_command_that_fails_is_tried_three_times(machine):
    machine.fails = 9
    machine.ends(machine.trains())
    for tries in range(1, 4):
        machine.looks(61)
        assert machine.ran == tries
    machine.looks(1000)
    assert machine.ran == 3
    machine.ends(machine.trains())
    machine.looks()
    assert machine.ran == 4


def test_after_three_failures_it_says_so(machine):
    machine.fails = 9
    machine.ends(machine.trains())
    for _ in range(4):
        machine.looks(61)
    assert "failed 3 times" in machine.looks()
    machine.fails = 0
    machine.ends(machine.trains())
    machine.looks()
    assert (machine.ran, machine.looks()) == (4, "")


def test_one_that_is_interrupted_is_run_again_in_the_same_life_only(machine):
    machine.interrupted = True
    machine.ends(machine.trains())
    machine.looks()
    assert machine.ran == 1
    machine.restart()
    machine.interrupted = False
    machine.looks()
    assert machine.ran == 2
    machine.interrupted = True
    machine.ends(machine.trains())
    machine.looks()
    machine.boots()
    machine.looks(1000)
    assert machine.ran == 3


def test_a_document_that_nobody_understands_keeps_the_machine_and_says_so(machine):
    machine.ends(machine.trains(), files={BEST: {"key": "x"}})
    assert "cannot be told (KeyError)" in machine.looks()
    assert machine.ran == 0


def test_a_job_that_is_gone_is_not_waited_for(machine):
    name = machine.trains()
    machine.ends(name)
    machine.store.delete(f"{name}.json")
    machine.restart()
    machine.looks()
    assert machine.ran == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"jobs": 3}', '{"jobs": ["x"]}'])
def test_a_spoilt_memory_is_no_end_of_the_service(machine, text):
    machine.folder.mkdir(parents=True, exist_ok=True)
    (machine.folder / "jobs.json").write_text(text)
    machine.restart()
    machine.ends(machine.trains())
    machine.looks()
    assert machine.ran == 1
