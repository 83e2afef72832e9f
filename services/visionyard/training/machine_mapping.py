"""Machines, measurements and estimates on the wire; what a stranger sends is checked here."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

from google.protobuf import duration_pb2, timestamp_pb2

from visionyard.kit.errors import invalid_field
from visionyard.kit.jobs.mapping import timestamp
from visionyard.kit.names import ResourceName
from visionyard.training.estimates.effort import Effort
from visionyard.training.estimates.estimates import MachineEstimate
from visionyard.training.estimates.estimator import Basis
from visionyard.training.estimates.machine import Machine
from visionyard.training.estimates.measured import COLLECTION, MOST_MACHINES, MOST_MEASUREMENTS, MeasuredMachine
from visionyard.training.estimates.measurement import Measurement
from visionyard.training.estimates.price import Price
from visionyard.training.v1 import machine_pb2

_BASES = {basis: machine_pb2.EstimateBasis.Value(f"ESTIMATE_BASIS_{basis.name}") for basis in Basis}


def duration(seconds: float | None) -> duration_pb2.Duration | None:
    """A proto duration, to the millisecond; None (an unset field) for None."""
    if seconds is None:
        return None
    result = duration_pb2.Duration()
    result.FromTimedelta(timedelta(milliseconds=round(seconds * 1000)))
    return result


def seconds_of(found: duration_pb2.Duration) -> float:
    """A proto duration in seconds."""
    return found.seconds + found.nanos / 1e9


def price_to_proto(price: Price | None) -> machine_pb2.Price | None:
    """A price on the wire."""
    if price is None:
        return None
    message = machine_pb2.Price(currency=price.currency)
    if price.per_hour is not None:
        message.per_hour = price.per_hour
    if price.per_month is not None:
        message.per_month = price.per_month
    return message


def price_from_proto(price: machine_pb2.Price, field: str) -> Price:
    """A price that a request gives.

    Raises:
        YardError: INVALID_FIELD.
    """
    rate = price.WhichOneof("rate")
    return Price(price.currency, **({rate: getattr(price, rate)} if rate else {})).check(field)


def machine_to_proto(project: str, known: MeasuredMachine, *, own: bool) -> machine_pb2.Machine:
    """A machine on the wire.

    Args:
        project: The project that asks.
        known: The machine.
        own: Whether the service runs on it.
    """
    machine = known.machine
    return machine_pb2.Machine(
        name=str(ResourceName(project, COLLECTION, machine.id)),
        display_name=machine.display_name,
        cpu_model=machine.cpu_model,
        cpu_cores=machine.cpu_cores,
        memory_bytes=machine.memory_bytes,
        gpu_model=machine.gpu_model,
        gpu_count=machine.gpu_count,
        price=price_to_proto(known.price),
        measurement_count=len(known.measurements),
        last_measured_time=timestamp(known.measurements[0].time) if known.measurements else None,
        own=own,
    )


def estimate_to_proto(project: str, found: MachineEstimate) -> machine_pb2.Estimate:
    """An estimate on the wire."""
    expected, machine = found.expectation, machine_to_proto(project, found.known, own=found.own)
    if found.unfit_reason:
        return machine_pb2.Estimate(machine=machine, unfit_reason=found.unfit_reason)
    return machine_pb2.Estimate(
        machine=machine,
        expected_duration=duration(expected.seconds),
        expected_cost=found.cost,
        past_error_ratio=expected.past_error_ratio,
        past_estimate_count=expected.past_estimates,
        basis=_BASES[expected.basis],
        measurement_count=expected.rests_on,
        start_up=duration(expected.start_up_s),
        epoch=duration(expected.epoch_s),
        ending=duration(expected.end_s),
    )


def measured_to_proto(project: str, known: MeasuredMachine, *, own: bool) -> machine_pb2.MeasuredMachine:
    """A machine with its measurements on the wire."""
    return machine_pb2.MeasuredMachine(
        machine=machine_to_proto(project, known, own=own), measurements=[_measurement_to_proto(one) for one in known.measurements]
    )


def _measurement_to_proto(one: Measurement) -> machine_pb2.Measurement:
    effort = one.effort
    return machine_pb2.Measurement(
        id=one.id,
        measured_time=timestamp(one.time),
        effort=machine_pb2.TrainingEffort(
            task=effort.task,
            model=effort.model,
            parameter_count=effort.parameter_count,
            gflops=effort.gflops,
            image_size_px=effort.image_size_px,
            batch_size=effort.batch_size,
            training_image_count=effort.train_images,
            validation_image_count=effort.val_images,
            mixed_precision=effort.mixed_precision,
            dataset_digest=effort.dataset_digest,
            processes=effort.processes,
            nodes=effort.nodes,
        ),
        epochs=one.epochs,
        start_up=duration(one.start_up_s),
        fetching=duration(one.fetch_s),
        first_epoch_extra=duration(one.first_extra_s),
        training=duration(one.train_s),
        validation=duration(one.val_s),
        saving=duration(one.save_s),
        ending=duration(one.end_s),
        expected=duration(one.expected_s),
        taken=duration(one.taken_s),
    )


def measured_from_proto(found: Iterable[machine_pb2.MeasuredMachine]) -> list[MeasuredMachine]:
    """What a request brings in.

    Raises:
        YardError: INVALID_FIELD.
    """
    found = list(found)
    if len(found) > MOST_MACHINES:
        raise invalid_field("measured_machines", f"takes at most {MOST_MACHINES} machines, not {len(found)}")
    return [_measured_from_proto(one, f"measured_machines[{at}]") for at, one in enumerate(found)]


def _measured_from_proto(one: machine_pb2.MeasuredMachine, field: str) -> MeasuredMachine:
    if len(one.measurements) > MOST_MEASUREMENTS:
        raise invalid_field(f"{field}.measurements", f"takes at most {MOST_MEASUREMENTS}, not {len(one.measurements)}")
    told = one.machine
    machine = Machine(told.cpu_model, told.cpu_cores, told.memory_bytes, told.gpu_model, told.gpu_count).check(f"{field}.machine")
    price = price_from_proto(told.price, f"{field}.machine.price") if told.HasField("price") else None
    measurements = [_measurement_from_proto(m, f"{field}.measurements[{at}]") for at, m in enumerate(one.measurements)]
    return MeasuredMachine(machine, price=price).with_others(measurements)


def _measurement_from_proto(one: machine_pb2.Measurement, field: str) -> Measurement:
    effort = one.effort

    def optional(name: Literal["ending", "expected", "taken"]) -> float | None:
        return seconds_of(getattr(one, name)) if one.HasField(name) else None

    return Measurement(
        id=one.id,
        time=_moment(one.measured_time, f"{field}.measured_time"),
        effort=Effort(
            task=effort.task,
            model=effort.model,
            parameter_count=effort.parameter_count,
            gflops=effort.gflops,
            image_size_px=effort.image_size_px,
            batch_size=effort.batch_size,
            train_images=effort.training_image_count,
            val_images=effort.validation_image_count,
            mixed_precision=effort.mixed_precision,
            dataset_digest=effort.dataset_digest,
            processes=effort.processes,
            nodes=effort.nodes or 1,
        ),
        epochs=one.epochs,
        start_up_s=seconds_of(one.start_up),
        fetch_s=seconds_of(one.fetching),
        first_extra_s=seconds_of(one.first_epoch_extra),
        train_s=seconds_of(one.training),
        val_s=seconds_of(one.validation),
        save_s=seconds_of(one.saving),
        end_s=optional("ending"),
        expected_s=optional("expected"),
        taken_s=optional("taken"),
    ).check(field)


def _moment(found: timestamp_pb2.Timestamp, field: str) -> datetime:
    try:
        return found.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise invalid_field(field, "is no moment between the years 1 and 9999") from None
