"""A search from its first trial to its model version over a store in memory, with trainings that end at once; whoever looks may die at any call of the store."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.dataset import DatasetClass, DatasetSplit, DatasetVersion
from visionyard.kit.artifacts.model import ModelFile, ModelVersion, list_model_versions
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import JobState
from visionyard.kit.names import ProjectName, ResourceName, VersionName
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.training.notifications.answers import Outcome
from visionyard.training.notifications.channel import Channel, ChannelKind
from visionyard.training.notifications.channels import Channels
from visionyard.training.notifications.events import Event
from visionyard.training.notifications.notifier import Notifier
from visionyard.training.notifications.outbox import PREFIX, Outbox
from visionyard.training.spec import TrainingSpec
from visionyard.training.trainings import Trainings
from visionyard.training.tuning import tuner as module
from visionyard.training.tuning.search import Search, TrialState
from visionyard.training.tuning.space import Parameter
from visionyard.training.tuning.tuner import Tuner
from visionyard.training.tuning.tunings import Tunings, Wanted, training_spec, trials_model
from visionyard.training.tuning_mapping import tuning_to_proto, wanted_from_proto

PROJECT = ProjectName("default")
MODEL = ResourceName("default", "models", "cones")
SPEC = TrainingSpec("projects/default/datasets/cones/versions/-", str(MODEL), architecture="yolov8n.yaml", epochs=9, image_size_px=64)
WANTED = Wanted(SPEC, (Parameter("lr0", 0.0, 1.0), Parameter("optimizer", choices=("SGD", "adamw"))), trials=9, max_parallel=2)


class Killed(BaseException):
    """Whoever looked is no more."""


class Mortal(MemoryObjectStore):
    """A store whose caller dies at the n-th write, before or after it."""

    def __init__(self):
        super().__init__()
        self.left = None
        self.after = False

    def _write(self, key, data):
        if self.left is not None:
            self.left -= 1
            if self.left < 0 and not self.after:
                raise Killed
        etag = super()._write(key, data)
        if self.left is not None and self.left < 0:
            raise Killed
        return etag


def publish_dataset(store):
    version = DatasetVersion(
        name=VersionName(ResourceName("default", "datasets", "cones"), None), digest="sha256:0", task="detect", image_count=2, label_count=2,
        classes=(DatasetClass(0, "cone", 2),), splits=(DatasetSplit("train", 1, 1), DatasetSplit("val", 1, 1)), total_bytes=1, stored_bytes=1,
        source_format="yolo", import_job="", manifest_key="", report_key="",
    )  # fmt: skip
    versions.publish(store, version.name.parent, version.body(), "test")


class Bench:
    def __init__(self, table):
        self.store = Mortal()
        publish_dataset(self.store)
        outbox = Outbox(self.store)
        self.trainings = Trainings(self.store, lambda: table, outbox)
        self.tunings = Tunings(self.store, self.trainings, lambda: table, outbox)
        self.runs = Counter()

    def tuner(self):
        return Tuner(self.store, self.tunings, self.trainings)

    def begin(self, request_id="", **changes):
        return self.tunings.create(PROJECT, replace(WANTED, **changes), request_id)

    def train(self, value=lambda spec: 1 - abs(spec.overrides["lr0"] - 0.5)):
        """Has every training that waits end; a value of None fails it."""
        for job in list(self.trainings.jobs.records.unfinished()):
            spec = TrainingSpec.from_json(job.spec)
            begun = (job.pointers.get("checkpoint") or {}).get("epoch", 0)
            self.runs[job.name.id, begun, spec.epochs] += 1
            metric = value(spec)
            if metric is None:
                error = YardError(Reason.OUT_OF_MEMORY, "no memory")
                self.trainings.jobs.records.update(
                    job.name, lambda job, now, e=error: job.changed(state=JobState.FAILED, error=e, start_time=now, end_time=now)
                )
                continue
            model = ModelVersion(
                VersionName(ResourceName.parse(spec.model, "models"), None), f"sha256:{job.name.id}", "detect", ("cone",), 1, 64, 32, "yolov8n.yaml", "best.pt",
                {"best.pt": ModelFile(f"blobs/{job.name.id}", 1, "0")}, training_job=str(job.name), metrics={"metrics/mAP50-95(B)": metric},
            ).body()  # fmt: skip
            made = versions.publish(self.store, ResourceName.parse(spec.model, "models"), model, f"{job.name} {job.resumptions}")
            pointers = {
                "checkpoint": {"epoch": spec.epochs, "ended": True, "files": {}},
                "trained": model,
                "model_version": str(made.name),
            }
            self.trainings.jobs.records.update(
                job.name,
                lambda job, now, p=pointers: job.changed(state=JobState.SUCCEEDED, pointers=p, start_time=now, end_time=now, attempt=1),
            )

    def versions(self, model):
        return list(list_model_versions(self.store, model))


@pytest.fixture
def bench(table):
    return Bench(table)


def finished(bench, job, tuner=None, value=None, rounds=100):
    tuner = tuner or bench.tuner()
    for _ in range(rounds):
        tuner.look()
        bench.train(*([value] if value else []))
        job = bench.tunings.get(job.name)
        if job.state.finished:
            return job
    raise AssertionError("it does not end")


def check_done(bench, job):
    """Every trial trained as it should and nothing twice, and one version was made of the best."""
    assert (job.state, job.error) == (JobState.SUCCEEDED, None)
    search = Search.of(job)
    assert [trial.number for trial in search.trials] == list(range(1, 10))
    assert Counter(trial.rung for trial in search.trials) == {0: 6, 1: 2, 2: 1}
    expected = {(trial.job, before, after): 1 for trial in search.trials for before, after in list(zip((0, 1, 3), (1, 3, 9), strict=True))[: trial.rung + 1]}  # fmt: skip
    assert dict(bench.runs) == expected
    [version] = bench.versions(MODEL)
    assert job.pointers["model_version"] == str(version.name)
    assert version.training_job.endswith(search.best.job)
    assert search.best.state is TrialState.COMPLETED
    assert version.metrics["metrics/mAP50-95(B)"] == search.best.value
    assert len(bench.versions(trials_model(MODEL))) == 9 + 3 + 1


def test_a_search_to_its_end(bench):
    job = finished(bench, bench.begin())
    check_done(bench, job)
    search = Search.of(job)
    jobs = bench.trainings.list_jobs(PROJECT, 100, "")[0]
    assert {view.job.name.id for view in jobs} == {trial.job for trial in search.trials}
    for view in jobs:
        assert view.job.spec["tuning_job"] == str(job.name)
        assert view.job.spec["image_size_px"] == 64
    message = tuning_to_proto(job)
    assert wanted_from_proto(message.spec).space[0].name == "lr0"
    assert [(rung.trials, rung.epochs) for rung in message.rungs] == [(9, 1), (3, 3), (1, 9)]
    assert message.best_trial == search.best.number
    assert message.trials[message.best_trial - 1].value == search.best.value
    assert not tuning_to_proto(job, with_trials=False).trials


def test_messages_are_about_the_search_and_not_about_its_trials(bench):
    posted, channels = [], Channels(bench.store, private=True)
    wanted = Channel(ResourceName("default", "notificationChannels", ""), ChannelKind.WEBHOOK, tuple(Event), "https://hooks.example/x")
    channels.create(PROJECT, "ops", wanted)

    def post(_, message):
        posted.append(message)
        return Outcome(delivered=True, http_status=200)

    job = finished(bench, bench.begin())
    with ThreadPoolExecutor(1) as threads:
        notifier = Notifier(bench.store, bench.trainings.jobs.records, channels, post, threads, 1, lambda *_: None)
        for _ in range(100):
            notifier.look()
            threads.submit(int).result()
            if not list(bench.store.list(PREFIX)):
                break
    assert [message.event for message in posted] == ["queued", "started", "finished"]
    told = posted[-1]
    assert told.headline == "Search finished: cones"
    assert dict(told.lines)["mAP50-95"] == f"{Search.of(job).best.value:.4f}"
    assert (told.dataset, told.model_version) == ("cones@1", job.pointers["model_version"])


def test_the_same_seed_draws_the_same(bench, table):
    other = Bench(table)
    tried = [[t.parameters for t in Search.of(finished(b, b.begin(seed=7, max_parallel=1))).trials] for b in (bench, other)]
    assert tried[0] == tried[1]


def test_two_services_look_at_once(bench):
    job, tuners = bench.begin(), [bench.tuner(), bench.tuner()]
    for turn in range(60):
        for tuner in tuners:
            tuner.look()
        if turn % 2:
            bench.train()
    check_done(bench, bench.tunings.get(job.name))


@pytest.mark.parametrize("after", [False, True])
def test_whoever_looks_may_die_at_any_write(table, after):
    """A new service goes on from there, whatever the write was; tried for each write of a whole search."""
    died = 0
    for writes in range(200):
        bench = Bench(table)
        job, left = bench.begin(), writes
        tuner, bench.store.after, killed = bench.tuner(), after, False
        for _ in range(100):
            bench.store.left = None if killed else left
            try:
                tuner.look()
            except Killed:
                tuner, killed = bench.tuner(), True
            left, bench.store.left = bench.store.left, None
            bench.train()
            if bench.tunings.get(job.name).state.finished:
                break
        check_done(bench, bench.tunings.get(job.name))
        died += killed
        if not killed:
            break
    assert died > 40
    assert not killed, "all writes were tried"


def test_one_that_fails_is_the_worst(bench):
    job = finished(bench, bench.begin(), value=lambda spec: None if spec.overrides["optimizer"] == "SGD" else spec.overrides["lr0"])
    assert job.state is JobState.SUCCEEDED
    search = Search.of(job)
    failed = [trial for trial in search.trials if trial.parameters["optimizer"] == "SGD"]
    assert failed
    assert all(trial.state is TrialState.FAILED and trial.error.reason is Reason.OUT_OF_MEMORY for trial in failed)
    assert search.best.parameters["optimizer"] == "AdamW"


def test_all_fail(bench):
    job = finished(bench, bench.begin(), value=lambda spec: None)
    assert (job.state, job.error.reason) == (JobState.FAILED, Reason.OUT_OF_MEMORY)
    assert bench.versions(MODEL) == []


def test_cancelled_before_it_begins_and_in_the_middle(bench):
    job = bench.begin()
    assert bench.tunings.cancel(job.name).state is JobState.CANCELLED
    job, tuner = bench.begin(), bench.tuner()
    for _ in range(4):
        tuner.look()
        bench.train()
    tuner.look()
    assert list(bench.trainings.jobs.records.unfinished())
    assert bench.tunings.cancel(job.name).state is JobState.CANCELLING
    for _ in range(3):
        tuner.look()
    job = bench.tunings.get(job.name)
    assert job.state is JobState.CANCELLED
    assert list(bench.trainings.jobs.records.unfinished()) == []
    assert Search.of(job).best is not None
    assert bench.versions(MODEL) == []
    assert bench.versions(trials_model(MODEL)), "what is done is kept"


def test_a_search_that_is_cancelled_between_writing_and_queueing_a_trial_leaves_nothing_that_runs(bench):
    job, tuner = bench.begin(), bench.tuner()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Tuner, "_act", lambda *_: None)  # it dies right after its swap
        tuner.look()
    assert Search.of(bench.tunings.get(job.name)).trials[0].job == ""
    bench.tunings.cancel(job.name)
    tuner = bench.tuner()
    for _ in range(3):
        tuner.look()
    assert bench.tunings.get(job.name).state is JobState.CANCELLED
    assert list(bench.trainings.jobs.records.unfinished()) == []


def test_one_odd_search_does_not_keep_the_others(bench, monkeypatch, caplog):
    odd, job = bench.begin(seed=1), bench.begin(seed=2)
    suggest = module.suggest

    def fails_for_one(space, seed, number, past):
        if seed == 1:
            raise RuntimeError("odd")
        return suggest(space, seed, number, past)

    monkeypatch.setattr(module, "suggest", fails_for_one)
    check_done(bench, finished(bench, job))
    assert bench.tunings.get(odd.name).state is JobState.QUEUED
    assert "cannot be advanced" in caplog.text


def test_the_same_request_is_the_same_search(bench):
    assert bench.begin("r").name == bench.begin("r").name
    with pytest.raises(YardError) as caught:
        bench.begin("r", trials=8)
    assert caught.value.reason is Reason.REQUEST_ID_REUSED


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"trials": 0}, "trials"),
        ({"trials": 1001}, "trials"),
        ({"eta": 1}, "eta"),
        ({"eta": 11}, "eta"),
        ({"min_epochs": 10}, "min_epochs"),
        ({"seed": -1}, "seed"),
        ({"time_limit_s": -1.0}, "time_limit"),
        ({"time_limit_s": float("nan")}, "time_limit"),
        ({"budget": -1.0}, "budget"),
        ({"budget": 5.0}, "needs the machine's price"),
        ({"max_parallel": -1}, "max_parallel_trials"),
        ({"priority": 1001}, "priority"),
        ({"metric": "mAP51"}, "metric"),
        ({"training": replace(SPEC, overrides={"epochs": 3})}, "epochs"),
        ({"training": replace(SPEC, overrides={"lr0": 0.1})}, "twice"),
        ({"training": replace(SPEC, model="projects/other/models/m")}, "not in projects/default"),
    ],
)
def test_what_cannot_be_is_refused(bench, changes, word):
    with pytest.raises(YardError, match=word):
        bench.begin(**changes)
    assert bench.tunings.list_jobs(PROJECT, 10, "")[0] == []


def test_the_trials_model_has_a_name_that_fits():
    assert trials_model(MODEL).id == "cones-tune"
    assert len(trials_model(ResourceName("p", "models", "m" * 63)).id) == 63


def test_a_trial_trains_what_the_search_says(bench):
    job = bench.begin(training=replace(SPEC, overrides={"mosaic": 0.0}))
    bench.tuner().look()
    job = bench.tunings.get(job.name)
    search = Search.of(job)
    spec = training_spec(job, search, 1)
    assert spec.overrides == {"mosaic": 0.0, **search.trials[0].parameters}
    assert (spec.epochs, spec.dataset_version) == (1, "projects/default/datasets/cones/versions/1")
