"""Time limits and budgets over all attempts."""

import math
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.jobs.model import Job, JobKind, JobState
from visionyard.kit.names import ResourceName
from visionyard.training.estimates.price import Price
from visionyard.training.limits import Allowance, EarlyStop, Spent, check_limits
from visionyard.training.spec import TrainingSpec
from visionyard.training.worker.pace import Pace

PRICE = Price("EUR", per_hour=36.0)
NOTHING = Spent()


@pytest.mark.parametrize(
    ("time_limit_s", "budget", "price", "reason"),
    [
        (0.5, 0, None, Reason.INVALID_FIELD),
        (-5, 0, None, Reason.INVALID_FIELD),
        (1e12, 0, None, Reason.INVALID_FIELD),
        (math.nan, 0, None, Reason.INVALID_FIELD),
        (0, -1, PRICE, Reason.INVALID_FIELD),
        (0, math.nan, PRICE, Reason.INVALID_FIELD),
        (0, math.inf, PRICE, Reason.INVALID_FIELD),
        (0, 5, None, Reason.PRICE_UNKNOWN),
        (0, 5, Price("EUR", per_hour=0), Reason.PRICE_UNKNOWN),
    ],
)
def test_limits_that_mean_nothing_are_refused(time_limit_s, budget, price, reason):
    with pytest.raises(YardError) as refused:
        check_limits(time_limit_s, budget, price)
    assert refused.value.reason is reason


def test_limits_that_mean_something():
    check_limits(0, 0, None)
    check_limits(3600, 0, None)
    check_limits(3600, 5, PRICE)


def allowance(time_limit_s=0.0, budget=0.0, price=PRICE, before=NOTHING, now=100.0, machines=1):
    return Allowance(time_limit_s, budget, price, before, 0.0, machines=machines, clock=lambda: now)


def test_what_is_spent_adds_up_over_the_attempts():
    assert allowance().spent == Spent(100, 1, "EUR")
    assert allowance(before=Spent(50, 7, "EUR")).spent == Spent(150, 8, "EUR")
    assert allowance(price=None, before=Spent(50, 7, "EUR")).spent == Spent(150, 7, "EUR")
    assert allowance(price=None).spent == Spent(100, 0, "")


def test_what_is_left_is_what_the_nearest_limit_leaves():
    assert allowance().left_s() == math.inf
    assert allowance(time_limit_s=130).left_s() == 30
    assert allowance(time_limit_s=130, before=Spent(50)).left_s() == -20
    both = allowance(time_limit_s=130, budget=1.2)
    assert both.left_s() == pytest.approx(20)
    assert both.nearest() is EarlyStop.BUDGET
    assert allowance(time_limit_s=110, budget=1.2).nearest() is EarlyStop.TIME_LIMIT
    assert allowance(budget=1.2, price=None).left_s() == math.inf


def test_each_of_several_machines_costs_what_one_costs():
    assert allowance(machines=3, before=Spent(50, 7, "EUR")).spent == Spent(150, 10, "EUR")
    assert allowance(machines=3, price=None).spent == Spent(100, 0, "")
    assert allowance(machines=3, budget=4.5).left_s() == pytest.approx(50)
    assert allowance(machines=3, time_limit_s=130).left_s() == 30, "they train at the same time"
    assert PRICE.times(3).hourly == 108
    assert Price("EUR", per_month=7305.0).times(2) == Price("EUR", per_month=14610.0)


@pytest.mark.parametrize("nodes", [0, 1, 3])
def test_an_attempt_is_charged_for_all_machines_that_it_trains_on(nodes):
    start = datetime(2026, 1, 1, tzinfo=UTC)
    name = ResourceName("p", "trainingJobs", "j")
    spec = TrainingSpec("projects/p/datasets/d/versions/1", "projects/p/models/m", architecture="yolov8n.yaml", nodes=nodes, launcher="ray")
    job = Job(name, JobKind.TRAINING, spec.to_json(), JobState.RUNNING, 1, start, "r")
    spent = Pace(SimpleNamespace(job=job, settings=SimpleNamespace(price=PRICE)), spec).pointers()["spent"]
    assert spent["amount"] == pytest.approx(max(1, nodes) * PRICE.cost(spent["seconds"]))


@pytest.mark.parametrize(
    ("limits", "words"), [({"time_limit_s": 90}, ("90 s", "--time-limit")), ({"budget": 0.5}, ("0.5 EUR", "--budget"))]
)
def test_what_a_limit_says_that_came_too_soon(limits, words):
    error = allowance(**limits).over()
    assert error.reason is Reason.LIMIT_REACHED
    assert all(word in error.message for word in words)
