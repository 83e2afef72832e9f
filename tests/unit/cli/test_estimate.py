"""What `yard estimate` shows of each machine, and reports of what a training has cost."""

import pytest

from visionyard.cli import estimate, training_reports
from visionyard.training.v1 import machine_pb2, training_job_service_pb2, training_report_pb2


def test_a_machine_that_cannot_run_it_stands_in_the_table_with_the_reason(capsys):
    price = machine_pb2.Price(per_hour=2.0, currency="EUR")
    own = machine_pb2.Estimate(machine=machine_pb2.Machine(display_name="CPU, 2 cores", own=True, price=price), unfit_reason="has no GPU")
    rented = machine_pb2.Estimate(
        machine=machine_pb2.Machine(display_name="4 x GPU", price=price), expected_cost=4.0, basis=machine_pb2.ESTIMATE_BASIS_SCALED
    )
    rented.expected_duration.FromSeconds(7200)
    estimate._shown(training_job_service_pb2.EstimateTrainingResponse(estimates=[own, rented]))
    _, first, second = capsys.readouterr().out.splitlines()
    assert "cannot run it: it has no GPU" in first
    assert "0.00" not in first
    assert "4.00 EUR" in second
    assert "scaled" in second


@pytest.mark.parametrize(
    ("currency", "estimated", "trained"), [("EUR", "2 h, 4.00 EUR", "1 h 30 min, 3.00 EUR"), ("", "2 h", "1 h 30 min")]
)
def test_a_report_says_what_was_expected_and_what_it_has_cost(capsys, currency, estimated, trained):
    report = training_report_pb2.TrainingReport(name="projects/p/trainingJobs/j", state="JOB_STATE_SUCCEEDED")
    report.cost.training_time.FromSeconds(5400)
    report.estimate.expected_duration.FromSeconds(7200)
    if currency:
        report.cost.amount, report.cost.currency, report.estimate.expected_cost = 3.0, currency, 4.0
        report.estimate.machine.price.MergeFrom(machine_pb2.Price(per_hour=2.0, currency=currency))
    training_reports._shown(report)
    rows = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
    assert (rows["estimated"].strip(), rows["trained for"].strip()) == (estimated, trained)
