"""Time by phase, and what attempts add up to."""

from types import SimpleNamespace

from visionyard.training.gpus import GpuState
from visionyard.training.reports.phases import PHASES, Stopwatch
from visionyard.training.worker.measuring import GpuSampler, Measuring, together


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def test_each_second_belongs_to_one_phase():
    clock = Clock()
    watch = Stopwatch(clock)
    for phase, seconds in (("fetch", 2.0), ("start", 3.0), ("data", 1.0), ("training", 5.0), ("data", 0.5)):
        clock.now += seconds
        watch.enter(phase)
    clock.now += 0.25
    assert watch.seconds() == {"start": 3.0, "fetch": 3.0, "data": 5.25, "training": 0.5, "validation": 0.0, "saving": 0.0}
    assert sum(watch.seconds().values()) == clock.now - 100


def epoch(hooks, clock, trainer):
    """The calls of one epoch of two batches as Ultralytics makes them."""
    steps = [("on_train_epoch_start", 0), ("on_train_batch_start", 0.5), ("on_train_batch_end", 2), ("on_train_batch_start", 0.5)]
    steps += [("on_train_batch_end", 2), ("on_train_epoch_end", 0), ("on_val_start", 0.25), ("on_val_end", 1)]
    for event, seconds in steps:
        clock.now += seconds
        hooks[event](trainer)
    clock.now += 0.75


def test_attempts_add_up_and_the_best_epoch_is_kept():
    clock, trainer = Clock(), SimpleNamespace(train_loader=SimpleNamespace(dataset=range(30)))
    first = Measuring(Stopwatch(clock), {})
    epoch(first.callbacks(), clock, trainer)
    after_one = first.saved(1, is_best=True)
    assert after_one == {
        "seconds": {"start": 0.0, "fetch": 0.0, "data": 1.0, "training": 4.0, "validation": 1.0, "saving": 1.0},
        "images": 30,
        "best_epoch": 1,
    }
    clock.now += 1000  # the attempt dies, and another one begins
    second = Measuring(Stopwatch(clock), after_one)
    epoch(second.callbacks(), clock, trainer)
    after_two = second.saved(2, is_best=False)
    assert after_two["seconds"] == {phase: 2 * after_one["seconds"][phase] for phase in PHASES}
    assert (after_two["images"], after_two["best_epoch"]) == (60, 1)


def test_looks_at_a_gpu_add_up_over_attempts_and_without_one_there_is_nothing():
    sampler = GpuSampler("")
    assert sampler.totals() == {}
    for free, used in ((6, 0.5), (2, None), (5, 1.0)):
        sampler.note(GpuState("G", free, 8, used))
    assert sampler.totals() == {"name": "G", "samples": 2, "utilisation_sum": 1.5, "peak_memory_bytes": 6, "memory_bytes": 8}
    assert together({**sampler.totals(), "peak_memory_bytes": 7}, sampler.totals())["peak_memory_bytes"] == 7
    assert together({}, sampler.totals())["samples"] == 2
    assert "gpu" not in Measuring(Stopwatch(), {}).totals()
