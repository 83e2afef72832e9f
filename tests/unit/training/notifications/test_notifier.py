"""From a job's change to a message: what is told, once, by whom, again, and no more. Over a store in memory, without threads."""

from datetime import timedelta

import pytest

from visionyard.kit.jobs.model import JobKind, JobState
from visionyard.kit.jobs.records import JobRecords
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.kit.objectstore.port import StoreUnavailable
from visionyard.training.notifications import delivery, notifier
from visionyard.training.notifications.answers import Outcome
from visionyard.training.notifications.events import Event
from visionyard.training.notifications.outbox import PREFIX

AWAY = Outcome(delivered=False, told="it answered HTTP 500", http_status=500)
REFUSED = Outcome(delivered=False, permanent=True, told="it answered HTTP 404", http_status=404)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(delivery, "_FIRST_WAIT_S", 0.0)


def test_a_whole_life_is_told_in_order_and_then_forgotten(bench):
    bench.channel()
    notifier = bench.notifier()
    job = bench.job()
    notifier.look()
    bench.runs(job)
    notifier.look()
    bench.change(job, state=JobState.QUEUED, node="", crashes=0)
    notifier.look()
    bench.runs(job, 2)
    notifier.look()
    bench.ends(job)
    notifier.look()
    assert bench.told() == ["queued", "started", "preempted", "started", "finished"]
    notifier.look()
    assert bench.outbox() == []
    assert len(bench.posted) == 5
    assert set(bench.counted) == {("webhook", "delivered")}


def test_a_life_within_a_second_is_told_in_order_too(bench):
    bench.channel()
    job = bench.job()
    bench.runs(job)
    bench.change(job, state=JobState.QUEUED, node="", crashes=0)
    bench.runs(job, 2)
    bench.ends(job)
    notifier = bench.notifier()
    for _ in range(5):
        notifier.look()
    assert bench.told() == ["queued", "started", "preempted", "started", "finished"]


def test_each_channel_is_told_what_it_wants(bench):
    bench.channel("ends", (Event.FINISHED, Event.FAILED))
    bench.channel("starts", (Event.STARTED,))
    notifier = bench.notifier()
    job = bench.job()
    bench.runs(job)
    bench.ends(job, JobState.FAILED)
    assert bench.outbox() == ["failed.1", "started.1"], "nobody wants to hear of what is queued"
    notifier.look()
    assert [(channel, message.event) for channel, message in sorted(bench.posted, key=str)] == [("ends", "failed"), ("starts", "started")]


def test_jobs_of_projects_without_a_channel_cost_next_to_nothing(bench, monkeypatch):
    asked = []
    for name in ("get", "put", "create", "compare_and_swap", "list", "head"):
        call = getattr(MemoryObjectStore, name)
        monkeypatch.setattr(MemoryObjectStore, name, lambda self, *a, _c=call, _n=name, **k: asked.append(_n) or _c(self, *a, **k))

    def cost():
        asked.clear()
        for _ in range(20):
            job = bench.job()
            bench.runs(job)
            bench.ends(job)
        return len(asked)

    with_events = cost()
    bench.records = JobRecords(bench.store, JobKind.TRAINING)
    assert with_events - cost() <= 1
    assert bench.outbox() == []


def test_a_crash_between_the_announcement_and_the_change_tells_nothing(bench, monkeypatch):
    bench.channel()
    job = bench.runs(bench.job())
    bench.notifier().look()
    bench.posted.clear()

    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(bench.records._documents, "swap", die)
        with pytest.raises(KeyboardInterrupt):
            bench.ends(job)
    notifier_ = bench.notifier()
    notifier_.look()
    assert bench.outbox() == ["finished.1"]
    bench.runs(job, 2)
    bench.ends(job, JobState.FAILED)
    notifier_.look()
    assert bench.told() == ["failed"]
    assert bench.outbox() == []


def test_what_was_announced_and_never_came_is_given_up(bench, monkeypatch):
    bench.channel()
    with monkeypatch.context() as broken:
        broken.setattr(bench.records._documents, "create", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            bench.job()
    bench.notifier().look()
    assert bench.outbox() == ["queued.0"]
    monkeypatch.setattr(notifier, "_OPEN_FOR", timedelta(seconds=-5))
    bench.notifier().look()
    assert (bench.outbox(), bench.posted) == ([], [])


def test_an_event_whose_announcement_fails_is_no_change(bench, monkeypatch):
    bench.channel()
    job = bench.runs(bench.job())

    def away(*_):
        raise StoreUnavailable("away")

    monkeypatch.setattr(bench.records._events._documents, "create", away)
    with pytest.raises(StoreUnavailable):
        bench.ends(job)
    assert bench.records.get(job.name).state is JobState.RUNNING


def test_an_end_is_told_though_the_job_was_resumed_before_anybody_looked(bench):
    bench.channel("ops", (Event.FAILED,))
    job = bench.runs(bench.job())
    bench.ends(job, JobState.FAILED)
    bench.change(job, state=JobState.QUEUED, error=None, end_time=None)
    bench.runs(job, 2)
    bench.notifier().look()
    assert bench.told() == ["failed"]


def test_a_channel_that_is_away_is_told_later_and_the_others_at_once(bench):
    bench.channel("a", (Event.FINISHED,))
    bench.channel("b", (Event.FINISHED,))
    bench.answers = [AWAY]
    bench.ends(bench.runs(bench.job()))
    notifier = bench.notifier()
    notifier.look()
    assert [channel for channel, _ in bench.posted] == ["a", "b"]
    assert bench.outbox() == ["finished.1"]
    bench.notifier().look()  # another process: what is left is known from the bucket alone
    assert [channel for channel, _ in bench.posted] == ["a", "b", "a"]
    assert bench.posted[0][1] == bench.posted[2][1], "every try tells the same"
    assert bench.outbox() == []
    assert bench.counted == [("webhook", "retried"), ("webhook", "delivered"), ("webhook", "delivered")]


def test_a_refusal_for_good_is_not_repeated(bench):
    bench.channel("ops", (Event.FINISHED,))
    bench.answers = [REFUSED]
    bench.ends(bench.runs(bench.job()))
    bench.notifier().look()
    bench.notifier().look()
    assert (len(bench.posted), bench.outbox(), bench.counted) == (1, [], [("webhook", "given_up")])


def test_after_an_hour_it_is_given_up(bench, monkeypatch):
    bench.channel("ops", (Event.FINISHED,))
    bench.answers = [AWAY, AWAY]
    bench.ends(bench.runs(bench.job()))
    bench.notifier().look()
    monkeypatch.setattr(delivery, "GIVE_UP", timedelta(seconds=-5))
    bench.notifier().look()
    assert (bench.outbox(), bench.counted) == ([], [("webhook", "retried"), ("webhook", "given_up")])


def test_two_services_do_not_both_send(bench, held):
    bench.channel("ops", (Event.FINISHED,))
    bench.ends(bench.runs(bench.job()))
    one, two = bench.notifier(held), bench.notifier(held)
    one.look()
    two.look()
    assert len(held.waiting) == 1
    held.go()
    one.look()
    two.look()
    held.go()
    assert (bench.told(), bench.outbox()) == (["finished"], [])


def test_what_a_dead_service_had_claimed_is_sent_by_another(bench, held, monkeypatch):
    bench.channel("ops", (Event.FINISHED,))
    bench.ends(bench.runs(bench.job()))
    monkeypatch.setattr(delivery, "_CLAIM", timedelta(seconds=-5))
    bench.notifier(held).look()
    dead = held.waiting
    bench.notifier().look()
    assert (bench.told(), bench.outbox()) == (["finished"], [])
    for function, arguments in dead:  # it was only asleep: then it is told twice, and nothing else goes wrong
        function(*arguments)
    assert (bench.told(), bench.outbox()) == (["finished", "finished"], [])


def test_a_channel_is_sent_one_message_at_a_time_and_failing_ones_leave_room(bench, held):
    for id_ in ("a", "b", "c"):
        bench.channel(id_, (Event.FINISHED,))
    notifier = bench.notifier(held, at_once=4)
    bench.answers = [AWAY, AWAY, AWAY]
    bench.ends(bench.runs(bench.job()))
    bench.ends(bench.runs(bench.job()))
    notifier.look()
    assert len(held.waiting) == 3
    held.go()
    notifier.look()
    assert len(held.waiting) == 2, "all three failed: they share half of the room"


def test_what_happened_later_waits_though_the_channel_is_free_by_then(bench, held, monkeypatch):
    bench.channel()
    notifier = bench.notifier(held)
    job = bench.job()
    notifier.look()
    bench.runs(job)
    bench.change(job, state=JobState.QUEUED, node="", crashes=0)
    take = notifier._take

    def take_and_then_free(name):
        taken = take(name)
        held.go()  # "queued" is delivered in the moment in which "started" was found to have to wait for it
        return taken

    monkeypatch.setattr(notifier, "_take", take_and_then_free)
    notifier.look()
    for _ in range(4):
        notifier.look()
        held.go()
    assert bench.told() == ["queued", "started", "preempted"]


def test_what_happened_later_waits_for_what_another_service_is_sending(bench, held):
    bench.channel()
    one, two = bench.notifier(held), bench.notifier()
    bench.runs(bench.job())
    one.look()
    two.look()
    assert bench.told() == []
    held.go()
    two.look()
    assert bench.told() == ["queued", "started"]


def test_a_deleted_channel_is_told_nothing_more(bench, held):
    channel = bench.channel("ops", (Event.FINISHED,))
    bench.ends(bench.runs(bench.job()))
    bench.notifier(held).look()
    bench.channels.delete(channel.name)
    held.go()
    assert (bench.posted, bench.outbox()) == ([], [])


def test_an_event_that_cannot_be_told_keeps_no_other(bench, caplog):
    bench.channel("ops", (Event.FINISHED,))
    odd = bench.job(epochs="many")
    bench.ends(bench.runs(odd))
    bench.store.put(f"{PREFIX}default/odd.finished.1", b"{}")
    bench.ends(bench.runs(bench.job()))
    notifier = bench.notifier()
    notifier.look()
    notifier.look()
    assert bench.told() == ["finished"]
    assert bench.outbox() == ["finished.1"]
    assert sum("cannot be told" in record.message for record in caplog.records) == 1
