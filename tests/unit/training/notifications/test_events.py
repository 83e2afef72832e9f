"""What changes of a job mean, and what is believed of what was announced."""

import pytest

from visionyard.kit.jobs.model import JobState
from visionyard.training.notifications.events import Event, JobEvent, Verdict, events_between, judge


def checkpoint(epoch, best):
    return {"checkpoint": {"epoch": epoch, "files": {"weights/best.pt": {"sha256": best}}}}


def names(events):
    return [(event.event.value, event.number) for event in events]


def test_a_jobs_life(bench):
    queued = bench.job()
    assert names(events_between(None, queued)) == [("queued", 0)]
    running = queued.changed(state=JobState.RUNNING, attempt=1, node="gpu1:/work")
    [started] = events_between(queued, running)
    assert (started.event, started.number, started.host) == (Event.STARTED, 1, "gpu1")
    first = running.changed(pointers=checkpoint(1, "a"))
    assert names(events_between(running, first)) == [("improved", 1)]
    worse = first.changed(pointers=checkpoint(2, "a"))
    assert names(events_between(first, worse)) == []
    better = worse.changed(pointers=checkpoint(3, "b"))
    assert names(events_between(worse, better)) == [("improved", 3)]
    done = better.changed(pointers={**better.pointers, "checkpoint": None, "files": {}})
    assert names(events_between(better, done)) == []
    [end] = events_between(done, done.changed(state=JobState.SUCCEEDED, node=""))
    assert (end.event, end.number, end.host) == (Event.FINISHED, 1, "gpu1")
    assert names(events_between(done, done.changed(state=JobState.FAILED))) == [("failed", 1)]
    assert events_between(done, done.changed(state=JobState.CANCELLING)) == []
    assert events_between(done, done.changed(state=JobState.CANCELLED)) == []


def test_the_end_is_no_improvement_though_best_pt_is_stored_anew_without_its_optimizer(bench):
    running = bench.runs(bench.job())
    last = running.changed(pointers=checkpoint(5, "a"))
    stripped = last.changed(pointers={**checkpoint(5, "b"), "files": {}, "trained": {}})
    assert names(events_between(running, last)) == [("improved", 5)]
    assert events_between(last, stripped) == []


def test_a_preemption_is_told_and_a_crash_is_not(bench):
    running = bench.runs(bench.job())
    back = running.changed(state=JobState.QUEUED, node="", crashes=0)
    assert names(events_between(running, back)) == [("preempted", 1)]
    assert names(events_between(back, back.changed(state=JobState.RUNNING, attempt=2))) == [("started", 2)]
    crashed = running.changed(state=JobState.QUEUED, node="", crashes=1)
    assert events_between(running, crashed) == []
    assert events_between(crashed, crashed.changed(state=JobState.RUNNING, attempt=2)) == []
    assert events_between(running, running.changed(attempt=2, crashes=1)) == [], "taken over by its lease"


def test_a_resumed_job_is_queued_again(bench):
    ended = bench.ends(bench.runs(bench.job()), JobState.FAILED)
    assert names(events_between(ended, ended.changed(state=JobState.QUEUED, error=None))) == [("queued", 1)]


HAPPENED, OPEN, NEVER = Verdict.HAPPENED, Verdict.OPEN, Verdict.NEVER


@pytest.mark.parametrize(
    ("event", "number", "state", "attempt", "verdict"),
    [
        ("queued", 0, "QUEUED", 0, HAPPENED),
        ("queued", 1, "FAILED", 1, OPEN),
        ("queued", 1, "QUEUED", 1, HAPPENED),
        ("started", 1, "QUEUED", 0, OPEN),
        ("started", 1, "RUNNING", 1, HAPPENED),
        ("started", 1, "FAILED", 3, HAPPENED),
        ("preempted", 1, "RUNNING", 1, OPEN),
        ("preempted", 1, "QUEUED", 1, HAPPENED),
        ("preempted", 1, "RUNNING", 2, HAPPENED),
        ("preempted", 1, "SUCCEEDED", 1, NEVER),
        ("finished", 1, "RUNNING", 1, OPEN),
        ("finished", 1, "SUCCEEDED", 1, HAPPENED),
        ("finished", 1, "CANCELLED", 1, NEVER),
        ("finished", 1, "RUNNING", 2, NEVER),
        ("finished", 1, "SUCCEEDED", 2, NEVER),
        ("failed", 1, "SUCCEEDED", 1, NEVER),
        ("failed", 1, "FAILED", 1, HAPPENED),
        ("improved", 3, "RUNNING", 1, OPEN),
        ("improved", 2, "RUNNING", 1, HAPPENED),
        ("improved", 3, "FAILED", 1, NEVER),
    ],
)
def test_what_is_believed(bench, event, number, state, attempt, verdict):
    job = bench.job().changed(state=JobState(state), attempt=attempt, pointers=checkpoint(2, "a"))
    assert judge(JobEvent(Event(event), job.name, number, ""), job) is verdict


def test_a_job_that_is_not_there_yet(bench):
    job = bench.job()
    assert judge(JobEvent(Event.QUEUED, job.name, 0, ""), None) is OPEN


def test_an_event_is_kept_whole(bench):
    event = JobEvent(Event.IMPROVED, bench.job().name, 7, "gpu1")
    assert JobEvent.from_json(event.to_json()) == event
