"""When the command at the end runs: once, when nothing is to do; what fails and what begins anew. Over a store in memory."""

import pytest
from ending_machine import BEST, HERE, LAST, THERE

from visionyard.kit.jobs.model import JobKind, JobState
from visionyard.kit.jobs.records import JobRecords
from visionyard.training.notifications.outbox import PREFIX as MESSAGES


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
