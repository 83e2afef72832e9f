"""Estimates, prices and machines through the typed client, from the training service as a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from serving import free_address, serving
from shapes import RECIPE, publish_shapes

from visionyard.client import Client
from visionyard.client.errors import ClientError
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.training.v1 import machine_pb2


@pytest.fixture
def client(seaweed_settings: dict[str, str], tmp_path: Path) -> Iterator[Client]:
    address = free_address()
    variables = {"VISIONYARD_LISTEN": address, "VISIONYARD_PRICE_PER_MONTH": "73.05", "VISIONYARD_PRICE_CURRENCY": "USD"}
    with serving(seaweed_settings, tmp_path, **variables), Client("default", state_dir=tmp_path, addresses={"training": address}) as found:
        yield found


@pytest.mark.timeout(900)
def test_what_is_not_trained_yet_has_a_price_and_a_place_in_time(client: Client, s3_store: ObjectStore) -> None:
    dataset = publish_shapes(s3_store, train=16, val=8)
    (own,) = client.machines.list()
    assert (own.own, own.price.per_month, own.price.currency, own.measurement_count) == (True, 73.05, "USD", 0)
    asked = {"model": "m", "architecture": "yolov8n.yaml", "epochs": 100, "image_size_px": 64, "overrides": RECIPE}
    found = client.training.estimate(dataset, **asked)
    seconds = found.expected_duration.ToMilliseconds() / 1000
    assert seconds > 0
    assert found.expected_cost == pytest.approx(seconds / 3600 * 0.1, rel=0.01)
    assert [one.basis for one in found.estimates] == [machine_pb2.ESTIMATE_BASIS_ROUGH]
    assert client.training.list() == [], "nothing was queued"
    for wrong in ({"epochs": -1}, {"overrides": {"epocs": 3}}, {"time_limit_s": -5.0}, {"budget": -5.0}):
        with pytest.raises(ClientError, match=r"epoc|time_limit|budget"):
            client.training.estimate(dataset, **{**asked, **wrong})

    effort = machine_pb2.TrainingEffort(
        task="detect", model="yolov8n.yaml", image_size_px=64, batch_size=16, training_image_count=16, validation_image_count=8,
        dataset_digest="0" * 16, processes=1, nodes=1, mixed_precision=False,
    )  # fmt: skip
    one = machine_pb2.Measurement(id="0" * 32, effort=effort, epochs=3)
    one.training.FromSeconds(1)
    one.ending.FromSeconds(2)
    rented = machine_pb2.MeasuredMachine(
        machine=machine_pb2.Machine(cpu_model="Rented", cpu_cores=64, price=machine_pb2.Price(per_hour=3.0, currency="EUR")),
        measurements=[one],
    )
    for _ in range(2):
        (brought,) = client.machines.bring_in([rented])
    assert (brought.measurement_count, brought.own, brought.price.per_hour) == (1, False, 3.0)
    (exported,) = client.machines.export().measured_machines
    assert [(m.id, m.epochs, m.training, m.ending, m.effort) for m in exported.measurements] == [
        ("0" * 32, 3, one.training, one.ending, effort)
    ]
    assert client.machines.set_price(brought.name, machine_pb2.Price(per_month=10, currency="EUR")).price.per_month == 10
    beside = client.training.estimate(dataset, **asked).estimates
    assert [estimate.machine.own for estimate in beside] == [True, False]
    assert beside[1].basis == machine_pb2.ESTIMATE_BASIS_SAME
    assert beside[1].expected_duration.seconds == 102
    one.effort.dataset_digest = "../.."
    with pytest.raises(ClientError, match="dataset_digest"):
        client.machines.bring_in([machine_pb2.MeasuredMachine(machine=rented.machine, measurements=[one])])

    first = client.training.create(dataset, **asked, budget=1000.0)
    second = client.training.create(dataset, **asked, time_limit_s=5400)
    assert (first.scheduling.budget, second.scheduling.time_limit.seconds) == (1000, 5400)
    assert first.estimate.expected_duration == found.expected_duration
    queue = client.training.queue().training_jobs
    waiting = next(job for job in queue if job.name == second.name).training_progress
    assert waiting.expected_start_time.seconds > first.create_time.seconds
    assert waiting.expected_end_time.seconds >= waiting.expected_start_time.seconds + int(seconds)
    shown = client.training.get(second.name).training_progress
    assert shown.expected_start_time.seconds == pytest.approx(waiting.expected_start_time.seconds, abs=300)
    for job in (second, first):
        client.training.cancel(job.name)


@pytest.mark.timeout(300)
def test_a_machine_with_gpus_is_estimated_from_one_that_is_too_small(client: Client, s3_store: ObjectStore) -> None:
    dataset = publish_shapes(s3_store, train=16, val=8)
    (own,) = client.machines.list()
    gpus = own.cpu_cores + 1
    batch = 16 * gpus
    effort = machine_pb2.TrainingEffort(
        task="detect", model="yolov8n.yaml", image_size_px=64, batch_size=batch, training_image_count=16, validation_image_count=8,
        dataset_digest="0" * 16, processes=gpus, nodes=1, mixed_precision=True,
    )  # fmt: skip
    one = machine_pb2.Measurement(id="0" * 32, effort=effort, epochs=3)
    one.training.FromSeconds(1)
    one.ending.FromSeconds(2)
    price = machine_pb2.Price(per_hour=36.0, currency="EUR")
    fitting = machine_pb2.Machine(cpu_model="Rented", cpu_cores=64, gpu_model="GPU", gpu_count=gpus, price=price)
    small = machine_pb2.Machine(cpu_model="Rented", cpu_cores=64, gpu_model="GPU", gpu_count=1, price=price)
    client.machines.bring_in([machine_pb2.MeasuredMachine(machine=machine, measurements=[one]) for machine in (fitting, small)])
    asked = {"model": "m", "architecture": "yolov8n.yaml", "epochs": 100, "image_size_px": 64, "batch_size": batch, "gpus": gpus}
    found = client.training.estimate(dataset, **asked)
    assert not found.HasField("expected_duration")
    here, *others = found.estimates
    assert here.machine.own
    assert "no GPU" in here.unfit_reason
    rented = {estimate.machine.gpu_count: estimate for estimate in others}
    assert rented[1].unfit_reason == "has 1 GPU for trainings"
    assert not rented[1].HasField("expected_duration")
    assert (rented[gpus].basis, rented[gpus].expected_duration.seconds) == (machine_pb2.ESTIMATE_BASIS_SAME, 102)
    assert rented[gpus].expected_cost == pytest.approx(1.02, rel=0.01)
    with pytest.raises(ClientError, match=r"gpus.* this machine has no GPU"):
        client.training.create(dataset, **asked)
