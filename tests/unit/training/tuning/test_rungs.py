"""How many trials train how long."""

import itertools

import pytest

from visionyard.training.tuning.rungs import plan


@pytest.mark.parametrize(
    ("trials", "epochs", "eta", "min_epochs", "rungs"),
    [
        (9, 27, 3, 1, [(9, 3), (3, 9), (1, 27)]),
        (27, 27, 3, 1, [(27, 1), (9, 3), (3, 9), (1, 27)]),
        (27, 27, 3, 3, [(27, 3), (9, 9), (3, 27)]),
        (10, 100, 3, 1, [(10, 11), (3, 33), (1, 100)]),
        (3, 3, 3, 1, [(3, 1), (1, 3)]),
        (3, 2, 3, 1, [(3, 2)]),
        (2, 100, 3, 1, [(2, 100)]),
        (1, 5, 3, 1, [(1, 5)]),
        (8, 8, 2, 8, [(8, 8)]),
        (1000, 100_000, 2, 1, [(1000 // 2**n, round(100_000 / 2 ** (9 - n))) for n in range(10)]),
    ],
)
def test_the_rungs_of_a_search(trials, epochs, eta, min_epochs, rungs):
    assert [(rung.trials, rung.epochs) for rung in plan(trials, epochs, eta, min_epochs)] == rungs


@pytest.mark.parametrize("eta", range(2, 11))
def test_each_rung_has_fewer_trials_and_more_epochs(eta):
    for trials in (*range(1, 60), 999, 1000):
        for epochs in (1, 2, 3, 5, 7, 10, 50, 99, 100, 301):
            for least in (1, 2, 5):
                if least > epochs:
                    continue
                rungs = plan(trials, epochs, eta, least)
                assert (rungs[0].trials, rungs[-1].epochs) == (trials, epochs)
                assert rungs[0].epochs >= least
                for lower, upper in itertools.pairwise(rungs):
                    assert lower.trials > upper.trials >= 1
                    assert lower.epochs < upper.epochs
