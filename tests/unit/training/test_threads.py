"""The number of threads follows what is measured."""

from __future__ import annotations

from visionyard.training.worker.threads import ThreadTrial


class Machine:
    """Computes a batch in a time that depends on the threads."""

    def __init__(self, seconds: dict[int, float]) -> None:
        self.seconds = seconds
        self.threads = 0
        self.now = 100.0

    def set_threads(self, threads: int) -> None:
        self.threads = threads

    def batches(self, trial: ThreadTrial, count: int) -> list[int]:
        used = []
        for _ in range(count):
            trial.batch_begins()
            used.append(self.threads)
            self.now += self.seconds[self.threads]
            trial.batch_ends()
        return used


def test_the_faster_number_wins_and_is_asked_again_later() -> None:
    machine = Machine({1: 1.0, 2: 0.8})
    trial = ThreadTrial(2, machine.set_threads, lambda: machine.now)
    assert sorted(machine.batches(trial, 6)) == [1, 1, 1, 2, 2, 2]
    assert set(machine.batches(trial, 50)) == {2}
    machine.seconds = {1: 1.0, 2: 5.0}  # another process has come
    machine.batches(trial, 60)
    assert machine.threads == 1
    assert machine.batches(trial, 5) == [1] * 5


def test_one_core_needs_no_trial() -> None:
    machine = Machine({1: 1.0})
    assert set(machine.batches(ThreadTrial(1, machine.set_threads, lambda: machine.now), 10)) == {1}


def test_a_choice_that_is_far_slower_is_tried_once_and_ever_more_rarely() -> None:
    machine = Machine({1: 1.0, 2: 5.0})
    used = machine.batches(ThreadTrial(2, machine.set_threads, lambda: machine.now), 600)
    assert used[:3] == [1, 2, 1]
    assert used.count(2) == 4
