"""What `yard estimate` shows of each machine."""

from visionyard.cli import estimate
from visionyard.training.v1 import machine_pb2, training_job_service_pb2


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
