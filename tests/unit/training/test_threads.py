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
    machine = Machine({1: 1.0, 2: 0.6})
    trial = ThreadTrial(2, machine.set_threads, lambda: machine.now)
    assert sorted(machine.batches(trial, 6)) == [1, 1, 1, 2, 2, 2]
    assert set(machine.batches(trial, 50)) == {2}
    machine.seconds = {1: 1.0, 2: 5.0}  # another process has come
    machine.batches(trial, 30)
    assert machine.threads == 1
    assert machine.batches(trial, 5) == [1] * 5


def test_one_core_needs_no_trial() -> None:
    machine = Machine({1: 1.0})
    assert set(machine.batches(ThreadTrial(1, machine.set_threads, lambda: machine.now), 10)) == {1}
