"""What a search may choose from, against the installed Ultralytics' own list, and what is drawn of it."""

import pytest

from visionyard.kit.errors import Reason, YardError
from visionyard.training.tuning.sampling import suggest
from visionyard.training.tuning.space import Parameter, check_space

LR0 = Parameter("lr0", 1e-4, 1e-1, log=True)
WARMUP = Parameter("patience", 5.0, 20.0)
OPTIMIZER = Parameter("optimizer", choices=("SGD", "adamw"))
FREEZE = Parameter("freeze", choices=([0.0], [0.0, 1.0]))


def test_values_get_ultralytics_own_types(table):
    checked = check_space([OPTIMIZER, WARMUP, LR0, FREEZE, Parameter("mosaic", 0.0, 1.0)], {}, table)
    assert [p.name for p in checked] == ["freeze", "lr0", "mosaic", "optimizer", "patience"]
    by_name = {p.name: p for p in checked}
    assert [by_name[name].whole for name in ("lr0", "mosaic", "patience")] == [False, False, True]
    assert by_name["optimizer"].choices == ("SGD", "AdamW")
    assert by_name["freeze"].choices == ([0], [0, 1])
    assert Parameter.from_json(by_name["lr0"].to_json()) == by_name["lr0"]


@pytest.mark.parametrize(
    ("space", "reason", "word"),
    [
        ([], Reason.INVALID_FIELD, "1 to 20"),
        ([Parameter(f"x{n}", 0, 1) for n in range(21)], Reason.INVALID_FIELD, "not 21"),
        ([LR0, LR0], Reason.INVALID_FIELD, "twice"),
        ([Parameter("imgsz", choices=(64, 96))], Reason.INVALID_FIELD, "twice"),
        ([Parameter("epochs", 1, 9)], Reason.RESERVED_ARGUMENT, "--epochs"),
        ([Parameter("time", 1, 9)], Reason.RESERVED_ARGUMENT, "epochs"),
        ([Parameter("data", choices=("a", "b"))], Reason.RESERVED_ARGUMENT, "data"),
        ([Parameter("cfg", choices=("a", "b"))], Reason.RESERVED_ARGUMENT, "file on the server"),
        ([Parameter("lro", 0.1, 0.2)], Reason.UNKNOWN_ARGUMENT, "or 'lr0'?"),
        ([Parameter("lr0", 0.2, 0.1)], Reason.INVALID_ARGUMENT_VALUE, "min is not below"),
        ([Parameter("lr0", 0.1, 0.1)], Reason.INVALID_ARGUMENT_VALUE, "min is not below"),
        ([Parameter("lr0", 0.0, 0.1, log=True)], Reason.INVALID_ARGUMENT_VALUE, "above 0"),
        ([Parameter("lr0", float("nan"), 0.1)], Reason.INVALID_ARGUMENT_VALUE, "lr0"),
        ([Parameter("lr0", 0.1, float("inf"))], Reason.INVALID_ARGUMENT_VALUE, "min is not below"),
        ([Parameter("mosaic", 0.0, 1.5)], Reason.INVALID_ARGUMENT_VALUE, "from 0 to 1"),
        ([Parameter("patience", 1.5, 3.0)], Reason.INVALID_ARGUMENT_VALUE, "whole"),
        ([Parameter("batch", 4.0, 100_000.0)], Reason.INVALID_ARGUMENT_VALUE, "every value"),
        ([Parameter("amp", 0.0, 1.0)], Reason.INVALID_ARGUMENT_VALUE, "amp"),
        ([Parameter("optimizer", choices=("SGD",))], Reason.INVALID_ARGUMENT_VALUE, "2 to 100"),
        ([Parameter("lr0", choices=tuple(n / 1000 for n in range(1, 102)))], Reason.INVALID_ARGUMENT_VALUE, "not 101"),
        ([Parameter("optimizer", choices=("SGD", "sgd"))], Reason.INVALID_ARGUMENT_VALUE, "twice"),
        ([Parameter("optimizer", choices=("SGD", "Adamm"))], Reason.INVALID_ARGUMENT_VALUE, "Adamm"),
        ([Parameter("amp", choices=(True, 1.0))], Reason.INVALID_ARGUMENT_VALUE, "amp"),
        ([Parameter("lr0", choices=({"a": 1.0}, 0.1))], Reason.INVALID_ARGUMENT_VALUE, "lr0"),
    ],
)
def test_what_cannot_be_searched_is_refused(table, space, reason, word):
    with pytest.raises(YardError) as caught:
        check_space(space, {"imgsz": 64}, table)
    assert caught.value.reason is reason
    assert word in caught.value.message


def test_what_the_automatic_optimizer_passes_over_is_not_searched(table):
    """Every trial would train with the same rate, and the table would say otherwise."""
    for taken in ({}, {"optimizer": "auto"}):
        with pytest.raises(YardError, match=r"lr0 would have no effect.*choose an optimizer too") as caught:
            check_space([LR0], taken, table)
        assert (caught.value.reason, caught.value.metadata["argument"]) == (Reason.INVALID_ARGUMENT_VALUE, "lr0")
    with pytest.raises(YardError, match="warmup_bias_lr would have no effect"):
        check_space([Parameter("warmup_bias_lr", 0.0, 0.1)], {}, table)
    with pytest.raises(YardError, match="leave auto out of the optimizers"):
        check_space([LR0, Parameter("optimizer", choices=("SGD", "auto"))], {}, table)
    check_space([LR0], {"optimizer": "AdamW"}, table)
    check_space([LR0, OPTIMIZER], {}, table)
    check_space([WARMUP, Parameter("optimizer", choices=("SGD", "auto"))], {}, table)


def test_an_image_size_is_given_as_a_list(table):
    with pytest.raises(YardError, match="give a list of values"):
        check_space([Parameter("imgsz", 320.0, 640.0)], {}, table)
    check_space([Parameter("imgsz", choices=(320, 640))], {}, table)


SPACE = (LR0, Parameter("patience", 5.0, 8.0, whole=True), Parameter("freeze", choices=([0], [0, 1])))


def test_what_is_drawn_follows_from_seed_number_and_results():
    past = [({"lr0": 0.001 * (n + 1), "patience": 5 + n % 4, "freeze": [0]}, n / 20) for n in range(12)]
    drawn = [suggest(SPACE, seed, number, known) for seed in (0, 1) for number in (1, 13) for known in ([], past)]
    again = [suggest(SPACE, seed, number, known) for seed in (0, 1) for number in (1, 13) for known in ([], past)]
    assert drawn == again
    assert len({str(values) for values in drawn}) == len(drawn), "each of the three counts"
    for values in drawn:
        assert list(values) == ["lr0", "patience", "freeze"]
        assert 1e-4 <= values["lr0"] <= 1e-1
        assert values["patience"] in {5, 6, 7, 8}
        assert values["freeze"] in ([0], [0, 1])


def test_results_are_learnt_from():
    """A metric that wants a large lr0: what is drawn with results is larger than what is drawn without."""
    space = (Parameter("lr0", 0.0, 1.0),)
    past = []
    for number in range(1, 31):
        value = suggest(space, 3, number, past)["lr0"]
        past.append(({"lr0": value}, value))
    first, last = [result for _, result in past[:10]], [result for _, result in past[20:]]
    assert sum(last) / len(last) > sum(first) / len(first) + 0.2
