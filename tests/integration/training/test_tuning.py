"""Searches with real trainings: three trials of small pictures, two rungs."""

from __future__ import annotations

import asyncio
import csv
import io
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import psutil
import pytest
from shapes import RECIPE, publish_shapes

from visionyard.kit.artifacts import versions
from visionyard.kit.artifacts.model import fetch_weights, list_model_versions, read_model_version
from visionyard.kit.jobs.model import JobState
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.training.spec import TrainingSpec
from visionyard.training.tuning.search import Search, TrialState
from visionyard.training.tuning.space import Parameter
from visionyard.training.tuning.tuner import Tuner
from visionyard.training.tuning.tunings import Tunings, Wanted, trials_model

PROJECT = ProjectName("default")
MODEL = ResourceName("default", "models", "shapes")
pytestmark = pytest.mark.timeout(900)


class Searches:
    """The use cases of a room's searches, and services that keep them going."""

    def __init__(self, room):
        self.room = room
        self.tunings = Tunings(room.store, room.trainings, room.trainings._table)
        self.data = publish_shapes(room.store, train=16, val=8)

    def begin(self, **changes):
        overrides = {key: value for key, value in RECIPE.items() if key != "lr0"} | {"workers": 0, "plots": False}
        training = TrainingSpec(
            self.data, str(MODEL), architecture="yolov8n.yaml", epochs=3, batch_size=8, image_size_px=32, overrides=overrides
        )
        space = (Parameter("lr0", 1e-4, 1e-2, log=True), Parameter("fliplr", choices=(0.0, 0.5)))
        return self.tunings.create(PROJECT, replace(Wanted(training, space, trials=3, seed=5), **changes), "")

    def search(self, job):
        return Search.of(self.tunings.get(job.name))

    @asynccontextmanager
    async def served(self):
        """A service that advances searches, until it is gone without a word."""
        task = asyncio.create_task(Tuner(self.room.store, self.tunings, self.room.trainings, poll_s=0.2).run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def ended(self, job, seconds=600):
        return await self.room.until(lambda: (found := self.tunings.get(job.name)).state.finished and found, seconds)


@pytest.fixture
def searches(room):
    return Searches(room)


def rows(store, version):
    """The rows of a version's results.csv."""
    return list(csv.DictReader(io.StringIO(store.get(version.files["results.csv"].key).data.decode())))


@pytest.mark.long
async def test_a_search_goes_on_over_the_death_of_its_service_and_of_a_worker(searches, tmp_path):
    room = searches.room
    job = await asyncio.to_thread(searches.begin)
    async with room.dispatching():
        async with searches.served():
            await room.until(lambda: any(trial.state is TrialState.RUNNING for trial in searches.search(job).trials), 120)
        held = searches.search(job)
        assert not held.ended
        for worker in room.workers():
            with suppress(psutil.NoSuchProcess):
                worker.kill()
        # Nobody looks; what is queued is trained all the same.
        await room.until(lambda: any(j.state.finished for j in room.trainings.jobs.list("default", 10, "")[0]), 300)
        assert searches.search(job) == held
        async with searches.served():
            ended = await searches.ended(job)
    assert (ended.state, ended.error) == (JobState.SUCCEEDED, None)
    search = Search.of(ended)
    assert [rung.trials for rung in search.spec.rungs] == [3, 1]
    assert sorted(trial.state.name for trial in search.trials) == ["COMPLETED", "STOPPED", "STOPPED"]
    jobs = {view.job.name.id: view.job for view in room.trainings.list_jobs(PROJECT, 10, "")[0]}
    assert set(jobs) == {trial.job for trial in search.trials}, "no training was queued twice"
    for trial in search.trials:
        assert jobs[trial.job].resumptions == trial.rung
        assert 1e-4 <= trial.parameters["lr0"] <= 1e-2
        for result in trial.results:
            version = read_model_version(room.store, versions.VersionName.parse(result.model_version, "models"))
            # Also of the version from before it was resumed, whose best.pt the resumption began with.
            fetch_weights(room.store, version, tmp_path / f"{trial.number}-{result.rung}.pt")
            assert [int(row["epoch"]) for row in rows(room.store, version)] == list(range(1, result.epochs + 1))
            assert version.metrics[search.spec.metric] == result.value
    best = search.best
    assert [(result.rung, result.epochs) for result in best.results] == [(0, 1), (1, 3)]
    assert search.trained_seconds(ended.end_time) > 0
    [made] = list(list_model_versions(room.store, MODEL))
    assert ended.pointers["model_version"] == str(made.name)
    assert made.training_job.endswith(best.job)
    assert made.metrics[search.spec.metric] == best.value
    assert len(list(list_model_versions(room.store, trials_model(MODEL)))) == 4


async def test_a_cancelled_search_stops_what_trains_and_keeps_what_is_done(searches):
    room = searches.room
    job = await asyncio.to_thread(searches.begin, max_parallel=1, priority=3)
    async with room.dispatching(), searches.served():
        await room.until(lambda: [t.state for t in searches.search(job).trials] == [TrialState.WAITING, TrialState.RUNNING], 300)
        await asyncio.to_thread(searches.tunings.cancel, job.name)
        ended = await searches.ended(job, 60)
        assert list(await asyncio.to_thread(lambda: list(room.trainings.jobs.records.unfinished()))) == []
    search = Search.of(ended)
    assert ended.state is JobState.CANCELLED
    assert [trial.state.name for trial in search.trials] == ["STOPPED", "CANCELLED"]
    assert search.best.number == 1
    assert list(list_model_versions(room.store, MODEL)) == []
    [kept] = list_model_versions(room.store, trials_model(MODEL))
    assert str(kept.name) == search.best.results[0].model_version
    jobs = [view.job for view in room.trainings.list_jobs(PROJECT, 10, "")[0]]
    assert [job.state.name for job in jobs] == ["CANCELLED", "SUCCEEDED"]
    assert {job.priority for job in jobs} == {3}
