"""How long a training will take on a machine, from what was measured there.

A training is taken apart: start-up, then for each epoch training, validation and saving, then the end's work with one validation more. Each part is taken from
the measurements that are most like it, and scaled: training and validation by images and by work for an image, start-up and end by the task where it is another, saving not at all. The
work for an image is its forward pass in floating-point operations (by the square of its side) and a share for loading it, which weighs more on a GPU. Several processes share the images,
as far as the machine has a GPU for each: on a CPU, and on one GPU, they take as long as one.
"""

from __future__ import annotations

import enum
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from visionyard.training.estimates.effort import Effort
from visionyard.training.estimates.machine import Machine
from visionyard.training.estimates.measurement import Measurement

_NEWEST = 5
"""So many of the measurements that fit best are looked at: a machine's pace changes with what else it does."""
_ERRORS = 10
_LOADING_GFLOPS = {"cpu": 0.15, "gpu": 25.0}
"""Loading and augmenting an image, in operations of the same machine: 2 cores load as fast as they compute 0.15 * 10^9; a GPU waits for its loaders."""
_CORE_GFLOPS_A_S, _GPU_GFLOPS_A_S = 12.0, 8000.0
"""What a core and a GPU manage in training, roughly, where nothing was measured."""
_TRAINING_OVER_VALIDATION = 3.0
"""A step is a forward and a backward pass, which costs about twice as much."""
_START_SHARE = {"classify": 0.7}
_END_SHARE = {"classify": 0.55, "segment": 1.4, "pose": 1.4}
"""A task's start-up, and its end without the validation, over a detection's: classification draws no boxes at its start and no curves at its end, masks and key
points have curves of their own besides the boxes' ones. Measured on two cores, not on a GPU: docs/performance.md."""
_ROUGH_START_S, _ROUGH_SAVE_S, _ROUGH_END_S, _ROUGH_FETCH_S_AN_IMAGE = 15.0, 0.5, 5.0, 0.001


class Basis(enum.Enum):
    """What an estimate rests on; the names are those of ``visionyard.training.v1.EstimateBasis``."""

    ROUGH = "ROUGH"
    SCALED = "SCALED"
    SAME = "SAME"


@dataclass(frozen=True)
class Expectation:
    """How long a training is expected to take, in seconds.

    Attributes:
        start_up_s: Until the first batch.
        epoch_s: An epoch but the first, with validation and saving.
        first_extra_s: By how much the first takes longer.
        end_s: From the last epoch to the model version.
        seconds: All together.
        basis: What it rests on.
        rests_on: How many measurements it was made of.
        past_error_ratio: How wrong the newest estimates on the machine were; 0 where there are none.
        past_estimates: How many those are.
    """

    start_up_s: float
    epoch_s: float
    first_extra_s: float
    end_s: float
    seconds: float
    basis: Basis
    rests_on: int
    past_error_ratio: float
    past_estimates: int


def estimate(effort: Effort, epochs: int, machine: Machine, measurements: Iterable[Measurement], hours: float = 0.0) -> Expectation:
    """Estimates a training.

    Args:
        effort: What is trained.
        epochs: How many epochs.
        machine: Where.
        measurements: What was measured there.
        hours: How long it trains where that is said instead of epochs (Ultralytics' ``time``); 0 where it is not.
    """
    known = sorted(measurements, key=lambda one: one.time, reverse=True)
    single = epochs == 1 and not hours
    like, same = _most_alike(effort, known, single=single)
    loading = _LOADING_GFLOPS["gpu" if machine.gpu_count else "cpu"]
    if like:
        start_up = _start_up(effort, known)
        scale = partial(_scale, effort, gpus=machine.gpu_count, loading=loading)
        train = _median(like, lambda one: one.train_s * scale(one.effort, images="train_images"))
        validation = _validation(effort, like, scale, train)
        first = _median(like, lambda one: one.first_extra_s)
        save = _median(like, lambda one: one.save_s)
        ended, _ = _most_alike(effort, [one for one in known if one.end_s is not None], single=single)
        end = _ending(effort, ended, validation)
    else:
        image_s = _rough_image_s(effort, machine, loading)
        start_up = _ROUGH_START_S + _ROUGH_FETCH_S_AN_IMAGE * (effort.train_images + effort.val_images)
        train, validation = image_s * effort.train_images, image_s / _TRAINING_OVER_VALIDATION * effort.val_images
        first, save, end = 0.0, _ROUGH_SAVE_S, _ROUGH_END_S + validation
    epoch = train + validation + save
    errors = [ratio for one in known if (ratio := one.error_ratio) is not None][:_ERRORS]
    return Expectation(
        start_up_s=start_up,
        epoch_s=epoch,
        first_extra_s=first,
        end_s=end,
        seconds=start_up + (hours * 3600 if hours else epochs * epoch + first) + end,
        basis=(Basis.SAME if same else Basis.SCALED) if like else Basis.ROUGH,
        rests_on=len(like),
        past_error_ratio=statistics.fmean(errors) if errors else 0.0,
        past_estimates=len(errors),
    )


def _most_alike(effort: Effort, known: Sequence[Measurement], *, single: bool) -> tuple[list[Measurement], bool]:
    """The newest measurements of those that fit best, newest first; and whether they are of the same model, size, batch and number of processes.

    A run of a ``single`` epoch is unlike others in the end: its epoch is the first, which takes longer, and the last, which draws.
    """
    if not known:
        return [], False
    distances = [((*_distance(effort, one.effort), single != _is_single(one)), one) for one in known]
    least = min(distance for distance, _ in distances)
    nearest = [one for distance, one in distances if distance == least][:_NEWEST]
    return nearest, _likeness(nearest[0].effort) == _likeness(effort)


def _is_single(measurement: Measurement) -> bool:
    """Whether its only epoch has parts that those of longer runs have not: a slow beginning, and drawing."""
    return measurement.epochs == 1 and measurement.first_extra_s > 0


def _likeness(effort: Effort) -> tuple[object, ...]:
    return effort.task, effort.model, effort.image_size_px, effort.batch_size, effort.processes, effort.nodes


def _distance(wanted: Effort, other: Effort) -> tuple[int, ...]:
    """How unlike two trainings are, the gravest difference first."""
    if (wanted.task, wanted.model) == (other.task, other.model):
        model = 0
    else:
        model = 1 + _octaves(wanted.model_gflops, other.model_gflops) + (wanted.task != other.task)
    return (
        int(wanted.mixed_precision != other.mixed_precision),
        _octaves(wanted.processes, other.processes),
        _octaves(wanted.nodes, other.nodes),
        model,
        _octaves(wanted.image_size_px, other.image_size_px, steps=4),
        _octaves(wanted.batch_size, other.batch_size),
        _octaves(wanted.train_images, other.train_images),
    )


def _octaves(wanted: float, other: float, steps: int = 1) -> int:
    """By how many doublings (``steps``: parts of one) two numbers differ, rounded."""
    return round(steps * abs(math.log2(max(wanted, 1e-3) / max(other, 1e-3))))


def _scale(wanted: Effort, other: Effort, *, gpus: int, loading: float, images: str) -> float:
    """By how much the one's pass over its images takes longer than the other's on machines with so many GPUs."""
    work = (wanted.image_gflops + loading) / (other.image_gflops + loading)
    counts: tuple[int, int] = (getattr(wanted, images), max(getattr(other, images), 1))
    return work * counts[0] / counts[1] * other.at_once(gpus) / wanted.at_once(gpus)


def _median(found: Sequence[Measurement], value: Callable[[Measurement], float]) -> float:
    return statistics.median(map(value, found)) if found else 0.0


def _start_up(effort: Effort, known: Sequence[Measurement]) -> float:
    """Until the first batch; with the images' fetching, and what else a first run with a dataset does, where none with it was measured."""

    def start(one: Measurement) -> float:
        return one.start_up_s * _share(_START_SHARE, effort, one)

    with_it = [one for one in known if one.effort.dataset_digest == effort.dataset_digest]
    # The first run of all with it scanned its labels; the later ones tell better what the next one does.
    warm = with_it[:-1] or with_it
    if warm:
        return _median(warm[:_NEWEST], start)
    first_ones = {one.effort.dataset_digest: one for one in known}.values()  # the oldest of each dataset, as the newest come first
    images = effort.train_images + effort.val_images
    fetching = [one.fetch_s / max(one.effort.train_images + one.effort.val_images, 1) for one in first_ones]
    return _median(list(first_ones)[:_NEWEST], start) + statistics.median(fetching) * images


def _validation(effort: Effort, like: Sequence[Measurement], scale: Callable[..., float], train: float) -> float:
    """One validation, by those that were measured; by the training's pace where they validated no images between epochs."""
    # Where it is switched off Ultralytics validates behind the last epoch all the same: seconds without images, which say nothing of others.
    validated = [one for one in like if one.effort.val_images]
    if validated:
        return _median([one for one in validated if one.val_s], lambda one: one.val_s * scale(one.effort, images="val_images"))
    return train / max(effort.train_images, 1) * effort.val_images / _TRAINING_OVER_VALIDATION


def _ending(effort: Effort, ended: Sequence[Measurement], validation: float) -> float:
    """The end's work: plots, files and the like as they were, scaled to the task, and a validation."""
    if not ended:
        return _ROUGH_END_S + validation
    if not validation:  # none between epochs: then the end's own is part of what was measured
        return _median(ended, lambda one: (one.end_s or 0.0) * _share(_END_SHARE, effort, one))
    return _median(ended, lambda one: max((one.end_s or 0.0) - one.val_s, 0.0) * _share(_END_SHARE, effort, one)) + validation


def _share(shares: Mapping[str, float], wanted: Effort, measured: Measurement) -> float:
    """By how much a part takes longer with the wanted task than with the measured one."""
    return shares.get(wanted.task, 1.0) / shares.get(measured.effort.task, 1.0)


def _rough_image_s(effort: Effort, machine: Machine, loading: float) -> float:
    pace = _GPU_GFLOPS_A_S if machine.gpu_count else _CORE_GFLOPS_A_S * machine.cpu_cores
    return _TRAINING_OVER_VALIDATION * (effort.image_gflops + loading) / (pace * effort.at_once(machine.gpu_count))
