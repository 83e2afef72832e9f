"""Estimates from measurements: the same training, others scaled, and none."""

import dataclasses

import pytest
from runs import CPU, EFFORT, FOUR_GPUS, GPU, run

from visionyard.training.estimates.estimator import Basis, estimate


def expected(effort, epochs, measurements, machine=CPU, hours=0.0):
    return estimate(effort, epochs, machine, measurements, hours)


def test_the_same_training_takes_what_it_took():
    found = expected(EFFORT, 10, [run(1), run(2)])
    assert found.seconds == pytest.approx(12 + 3 + 10 * 111 + 15)
    assert (found.basis, found.rests_on) == (Basis.SAME, 2)
    assert (found.start_up_s, found.epoch_s, found.first_extra_s, found.end_s) == (12, 111, 3, 15)


def test_more_epochs_and_more_images_take_longer():
    assert expected(EFFORT, 20, [run()]).seconds - expected(EFFORT, 10, [run()]).seconds == pytest.approx(10 * 111)
    doubled = expected(dataclasses.replace(EFFORT, train_images=2000), 10, [run()])
    assert doubled.seconds - expected(EFFORT, 10, [run()]).seconds == pytest.approx(10 * 100)


def test_another_size_is_scaled_by_its_pixels_and_another_model_by_its_operations():
    larger = expected(dataclasses.replace(EFFORT, image_size_px=640), 10, [run()])
    assert larger.basis is Basis.SCALED
    assert 3.5 < (larger.epoch_s - 1) / 110 < 4, "four times the pixels, but not four times the loading"
    medium = expected(dataclasses.replace(EFFORT, model="yolov8m.yaml"), 10, [run()])
    assert 8 < (medium.epoch_s - 1) / 110 < 78.9 / 8.7
    on_gpu = expected(dataclasses.replace(EFFORT, image_size_px=640), 10, [run()], GPU)
    assert on_gpu.epoch_s < larger.epoch_s / 2, "there the loaders are what takes the time"


def test_the_most_alike_count_and_of_them_the_newest():
    other = dataclasses.replace(EFFORT, image_size_px=640)
    slow = [run(number, other, train_s=5000.0) for number in range(20, 30)]
    old = [run(number, train_s=1.0) for number in range(5)]
    new = [run(number, train_s=200.0) for number in range(10, 15)]
    found = expected(EFFORT, 1, [*old, *slow, *new])
    assert (found.epoch_s, found.rests_on) == (211, 5)


def test_several_epochs_are_told_by_runs_of_several_and_one_by_runs_of_one():
    several, ones = run(0, epochs=10), [run(number, epochs=1, train_s=130.0, first_extra_s=20.0) for number in range(1, 7)]
    assert expected(EFFORT, 10, [several, *ones]).seconds == pytest.approx(12 + 3 + 10 * 111 + 15)
    assert expected(EFFORT, 1, [several, *ones]).seconds == pytest.approx(12 + 20 + 141 + 15)
    assert expected(EFFORT, 1, [several, *ones], hours=1.0).first_extra_s == 3
    found = expected(dataclasses.replace(EFFORT, batch_size=8), 10, [several, *(dataclasses.replace(one, effort=EFFORT) for one in ones)])
    assert (found.epoch_s, found.basis) == (111, Basis.SCALED), "what is trained counts before how long"


def test_an_attempt_without_an_end_lends_none():
    through, other = [run(number) for number in range(1, 6)], dataclasses.replace(EFFORT, model="yolov8x.yaml", parameter_count=68_000_000)
    newer = [run(number, other, end_s=300.0, val_s=1.0) for number in range(6, 12)]
    assert expected(EFFORT, 1, [run(0, epochs=1, end_s=None), *through, *newer]).end_s == 15
    assert expected(EFFORT, 10, [run(20, epochs=2, end_s=None), *newer, *[run(n, epochs=1) for n in range(1, 6)]]).end_s == 15


def test_several_processes_tell_of_single_epochs_too_though_they_tell_no_end():
    several = [run(number, with_processes(2), end_s=None) for number in range(5)]
    ones = [run(number, with_processes(2), epochs=1, first_extra_s=60.0, end_s=None) for number in range(5, 10)]
    assert expected(with_processes(2), 10, [*several, *ones]).first_extra_s == 3
    assert expected(with_processes(2), 1, [*several, *ones]).first_extra_s == 60


def test_a_run_without_validation_says_nothing_of_one():
    """It validates behind its last epoch all the same."""
    without = run(1, dataclasses.replace(EFFORT, val_images=0), val_s=5.0)
    assert expected(EFFORT, 10, [without]).epoch_s == pytest.approx(100 + 100 / 1000 * 200 / 3 + 1), "a third of a step for an image"
    assert expected(EFFORT, 10, [without, run(2)]).epoch_s == 111
    assert expected(without.effort, 10, [without]).epoch_s == 101
    assert expected(EFFORT, 10, [run(1, val_s=0.0)]).epoch_s == 101, "none between its epochs, it says"


def test_one_slow_run_does_not_spoil_the_estimate():
    assert expected(EFFORT, 10, [run(1), run(2, train_s=900.0), run(3)]).epoch_s == 111


def test_a_first_run_with_a_dataset_brings_it_here():
    fetched = run(1, fetch_s=60.0, start_up_s=40.0)
    assert expected(EFFORT, 1, [fetched, run(2), run(3)]).start_up_s == 12, "it is here now"
    new = dataclasses.replace(EFFORT, dataset_digest="1" * 16)
    assert expected(new, 1, [fetched, run(2), run(3)]).start_up_s == pytest.approx(40 + 60)


@pytest.mark.parametrize(
    ("task", "start_up_s", "end_s"), [("detect", 12, 5), ("classify", 8.4, 2.75), ("segment", 12, 7), ("pose", 12, 7), ("obb", 12, 5)]
)
def test_another_task_starts_and_ends_as_it_does_beside_a_detection(task, start_up_s, end_s):
    other = dataclasses.replace(EFFORT, task=task, gflops=EFFORT.model_gflops, dataset_digest="1" * 16)
    found = expected(other, 10, [run()])
    assert (found.start_up_s, found.end_s) == (pytest.approx(start_up_s), pytest.approx(end_s + 10)), "the validation is no other"
    back = expected(EFFORT, 10, [run(1, other, start_up_s=start_up_s, end_s=end_s + 10)])
    assert (back.start_up_s, back.end_s) == (pytest.approx(12), pytest.approx(15))


def test_nothing_measured_is_a_rough_guess_that_knows_cores_and_gpus():
    found = expected(EFFORT, 10, [])
    assert (found.basis, found.rests_on, found.past_estimates) == (Basis.ROUGH, 0, 0)
    assert expected(EFFORT, 10, [], GPU).epoch_s < found.epoch_s / 5
    assert expected(EFFORT, 10, [], dataclasses.replace(CPU, cpu_cores=8)).epoch_s < found.epoch_s / 2
    assert expected(dataclasses.replace(EFFORT, image_size_px=640), 10, []).epoch_s > 3 * found.epoch_s


def test_past_errors_are_the_mean_of_the_newest_ten():
    runs = [run(0, expected_s=1000.0, taken_s=1.0)] + [run(n, expected_s=110.0 if n % 2 else 70.0, taken_s=100.0) for n in range(1, 11)]
    found = expected(EFFORT, 1, [*runs, run(11)])
    assert (found.past_error_ratio, found.past_estimates) == (pytest.approx(0.2), 10)


def test_runs_that_were_broken_off_lend_their_epochs_and_no_end():
    found = expected(EFFORT, 1, [run(1, end_s=None)])
    assert found.epoch_s == 111
    assert found.end_s > 10
    other = dataclasses.replace(EFFORT, model="yolo11n.yaml")
    assert expected(EFFORT, 1, [run(1, end_s=None), run(2, other, end_s=40.0)]).end_s == pytest.approx(40 - 10 + 10)


def test_hours_in_place_of_epochs_and_no_validation():
    assert expected(EFFORT, 100, [run()], hours=2.0).seconds == pytest.approx(12 + 7200 + 15)
    found = expected(dataclasses.replace(EFFORT, val_images=0), 1, [run()])
    assert (found.epoch_s, found.end_s) == (101, 15)


def with_processes(processes, nodes=1):
    return dataclasses.replace(EFFORT, processes=processes, nodes=nodes)


@pytest.mark.parametrize(
    ("machine", "processes", "nodes", "faster"),
    [
        (CPU, 2, 1, 1),
        (GPU, 4, 1, 1),
        (FOUR_GPUS, 1, 1, 1),
        (FOUR_GPUS, 2, 1, 2),
        (FOUR_GPUS, 8, 1, 4),
        (CPU, 4, 2, 2),
        (GPU, 2, 2, 2),
        (FOUR_GPUS, 8, 2, 8),
    ],
)
def test_processes_share_the_images_as_far_as_each_has_a_gpu(machine, processes, nodes, faster):
    found = expected(with_processes(processes, nodes), 1, [run()], machine)
    assert found.epoch_s == pytest.approx(110 / faster + 1)
    rough = [expected(effort, 1, [], machine) for effort in (EFFORT, with_processes(processes, nodes))]
    assert (rough[0].epoch_s - 0.5) / (rough[1].epoch_s - 0.5) == pytest.approx(faster), "also where nothing was measured"


def test_what_several_processes_took_tells_what_one_takes():
    measured = [run(1, with_processes(4))]
    assert expected(EFFORT, 1, measured, FOUR_GPUS).epoch_s == pytest.approx(4 * 110 + 1)
    assert expected(EFFORT, 1, measured).epoch_s == pytest.approx(110 + 1)


def test_such_trainings_have_as_many_processes_on_as_many_machines():
    assert expected(with_processes(4), 1, [run(1, with_processes(4))], FOUR_GPUS).basis is Basis.SAME
    assert expected(with_processes(4), 1, [run(1)], FOUR_GPUS).basis is Basis.SCALED
    assert expected(with_processes(4, 2), 1, [run(1, with_processes(4))], FOUR_GPUS).basis is Basis.SCALED


def test_what_ran_on_as_many_machines_counts_before_what_ran_on_one():
    """Two processes on two machines are twice as fast as on one without GPUs, so that each would mislead the other."""
    here, there = dataclasses.replace(EFFORT, processes=2), dataclasses.replace(EFFORT, processes=2, nodes=2)
    runs = [*(run(n, there, train_s=50.0) for n in range(3)), *(run(n, here, train_s=100.0) for n in range(3, 6))]
    for effort, epoch_s in ((there, 61), (here, 111)):
        found = expected(effort, 1, runs)
        assert (found.basis, found.rests_on, found.epoch_s) == (Basis.SAME, 3, epoch_s)
