"""The kill rounds of `make import-kills`, a few of them on a small source: what a kill at any moment of an import leaves is what an undisturbed one leaves."""

import random

import pytest
from import_kills import PROCESSES, ROUNDS, Kills, plan


@pytest.fixture(scope="module")
def kills(stack, tmp_path_factory):
    made = Kills(stack.home, tmp_path_factory.mktemp("kills"), 40, random.Random(4))
    made.make_sources()
    return made


@pytest.mark.parametrize(("kind", "process"), [("yolo", "worker"), ("coco", "client, dataset service and worker"), ("append", "client")])
def test_a_killed_import_ends_as_an_undisturbed_one(kills, kind, process):
    row = kills.round(kind, process)
    assert not row.problems, row


def test_a_seed_draws_the_same_rounds_and_each_process_equally_often():
    drawn = plan(ROUNDS, random.Random(7))
    assert drawn == plan(ROUNDS, random.Random(7)) != plan(ROUNDS, random.Random(8))
    killed = [process for _, process in drawn]
    assert {killed.count(process) for process in PROCESSES} == {ROUNDS // len(PROCESSES)}
