"""Machines in the bucket: bounded, carried from one to another, and nothing in them that is nobody's business."""

import dataclasses
import json
import threading
from datetime import timedelta

import pytest
from runs import CPU, EFFORT, GPU, START, run

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.kit.objectstore.documents import Documents
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.training.estimates.estimates import Estimates, MachineEstimate
from visionyard.training.estimates.machine import Machine, _cpu_model, this_machine
from visionyard.training.estimates.measured import MOST_MACHINES, MOST_MEASUREMENTS, MeasuredMachine, MeasuredMachines
from visionyard.training.estimates.price import Price
from visionyard.training.machine_mapping import estimate_to_proto, measured_from_proto, measured_to_proto, price_from_proto
from visionyard.training.v1 import machine_pb2

PROJECT = ProjectName("p")


@pytest.fixture
def store():
    return MemoryObjectStore()


@pytest.fixture
def estimates(store):
    return Estimates(store, CPU, Price("EUR", per_hour=2.0))


def test_a_machine_is_its_parts():
    assert CPU.id == Machine("CPU", 2, 8 << 30).id != GPU.id
    assert (CPU.display_name, GPU.display_name) == ("CPU, 2 cores, 8 GiB", "GPU, 16 cores, 64 GiB")
    assert dataclasses.replace(GPU, gpu_count=4, cpu_cores=1).display_name == "4 x GPU, 1 core, 64 GiB"


def test_this_machine_describes_itself_within_the_bounds(tmp_path):
    found = this_machine(uses_gpus=False).check("machine")
    assert found == this_machine(uses_gpus=False)
    assert (found.gpu_model, found.gpu_count) == ("", 0)
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: A \x1b[31m CPU  @ 3 GHz\n")
    assert _cpu_model(tmp_path / "cpuinfo") == "A [31m CPU @ 3 GHz"
    assert _cpu_model(tmp_path / "none")


def test_the_newest_two_hundred_measurements_stay(store):
    machines = MeasuredMachines(store)
    for number in range(MOST_MEASUREMENTS + 5):
        machines.add_own(CPU, run(number), None)
    known = machines.get("p", CPU.id)
    assert len(known.measurements) == MOST_MEASUREMENTS
    assert known.measurements[0].time == START + timedelta(hours=MOST_MEASUREMENTS + 4)
    machines.add_own(CPU, run(MOST_MEASUREMENTS + 4), None)
    assert machines.get("p", CPU.id) == known, "the same one again changes nothing"


def test_what_a_newer_build_measured_is_kept_though_it_says_more(store):
    """While one build takes over from another both write here."""
    MeasuredMachines(store).add_own(CPU, run(1), None)
    documents = Documents(store)
    document = documents.read(f"machines/{CPU.id}.json")
    body = json.loads(json.dumps(document.body))
    for part in (body["machine"], body["measurements"][0], body["measurements"][0]["effort"]):
        part["unheard_of"] = 1
    documents.swap(document, body)
    machines = MeasuredMachines(store)
    machines.add_own(CPU, run(2), None)
    assert machines.get("p", CPU.id).measurements == (run(2), run(1))


def test_workers_that_write_at_once_lose_nothing(store):
    machines = MeasuredMachines(store)
    threads = [threading.Thread(target=machines.add_own, args=(CPU, run(number), None)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(machines.get("p", CPU.id).measurements) == 8


def test_what_is_brought_in_is_seen_by_its_project_alone(estimates):
    estimates.measured.add_own(CPU, run(1), None)
    found = [MeasuredMachine(GPU, (run(2),), Price("USD", per_month=365.25))]
    for _ in range(2):
        assert [one.machine for one in estimates.bring_in(PROJECT, found)] == [GPU]
    assert [one.machine for one in estimates.machines(PROJECT)] == [CPU, GPU]
    assert [one.machine for one in estimates.machines(ProjectName("other"))] == [CPU]
    beside = estimates.side_by_side(PROJECT, EFFORT, 10)
    assert [one.own for one in beside] == [True, False]
    assert beside[0].cost == pytest.approx(beside[0].expectation.seconds / 3600 * 2)
    assert beside[1].cost == pytest.approx(beside[1].expectation.seconds / 3600 * 0.5)
    assert len(estimates.machines(PROJECT)[1].measurements) == 1


def test_each_of_several_machines_costs_what_one_costs(estimates):
    one, two = (estimates.on_own(PROJECT, dataclasses.replace(EFFORT, processes=nodes, nodes=nodes), 10) for nodes in (1, 2))
    assert two.cost == pytest.approx(two.expectation.seconds / 3600 * 2 * 2)
    assert one.cost == pytest.approx(one.expectation.seconds / 3600 * 2)
    assert [MachineEstimate.from_json(json.loads(json.dumps(found.to_json()))).cost for found in (one, two)] == [one.cost, two.cost]
    before = {key: value for key, value in one.to_json().items() if key != "machines"}
    assert MachineEstimate.from_json(before).cost == one.cost, "what an earlier release queued"


def test_an_own_machine_with_nothing_measured_comes_first(estimates):
    (only,) = estimates.machines(PROJECT)
    assert (only.machine, only.measurements, only.price) == (CPU, (), Price("EUR", per_hour=2.0))
    assert estimates.export(PROJECT, []) == []


def test_prices(estimates):
    estimates.bring_in(PROJECT, [MeasuredMachine(GPU, (run(),))])
    name = ResourceName("p", "machines", GPU.id)
    assert estimates.set_price(name, Price("EUR", per_hour=3.0)).price == Price("EUR", per_hour=3.0)
    assert estimates.machines(PROJECT)[1].price == Price("EUR", per_hour=3.0)
    estimates.bring_in(PROJECT, [MeasuredMachine(GPU, (run(2),))])
    assert estimates.machines(PROJECT)[1].price == Price("EUR", per_hour=3.0), "an import without a price leaves it"
    for machine, reason in ((CPU, Reason.INVALID_FIELD), (Machine("None", 1, 0), Reason.MACHINE_NOT_FOUND)):
        with pytest.raises(YardError) as refused:
            estimates.set_price(ResourceName("p", "machines", machine.id), Price("EUR", per_hour=3.0))
        assert refused.value.reason is reason


def test_a_project_brings_in_so_many_machines_and_no_more(estimates):
    many = [MeasuredMachine(Machine("CPU", cores, 0), (run(cores),)) for cores in range(1, MOST_MACHINES + 1)]
    estimates.bring_in(PROJECT, many)
    with pytest.raises(YardError) as refused:
        estimates.bring_in(PROJECT, [MeasuredMachine(GPU, (run(),))])
    assert refused.value.reason is Reason.TOO_MANY_MACHINES
    estimates.bring_in(PROJECT, many[:1])
    shown, token = estimates.list_machines(PROJECT, 20, "")
    more, last = estimates.list_machines(PROJECT, 1000, token)
    assert len({one.machine.id for one in (*shown, *more)}) == MOST_MACHINES + 1
    assert last == ""


def test_a_document_that_cannot_be_read_stops_nothing(store, estimates):
    store.put(f"machines/{GPU.id}.json", json.dumps({"nonce": "x", "body": {"machine": {"cpu": 1}}}).encode())
    assert [one.machine for one in estimates.machines(PROJECT)] == [CPU]
    estimates.measured.add_own(GPU, run(), None)
    assert len(estimates.machines(PROJECT)) == 2


def test_a_machine_goes_over_the_wire_and_comes_back():
    known = MeasuredMachine(GPU, (run(2, expected_s=10.0, taken_s=12.5), run(1, end_s=None)), Price("EUR", per_month=0.0))
    assert measured_from_proto([measured_to_proto("p", known, own=False)]) == [known]
    together = MeasuredMachine(GPU, (run(effort=dataclasses.replace(EFFORT, processes=8, nodes=2)),))
    message = measured_to_proto("p", together, own=False)
    assert measured_from_proto([message]) == [together]
    message.measurements[0].effort.ClearField("nodes")
    assert measured_from_proto([message])[0].measurements[0].effort.nodes == 1, "what an earlier release exported"


def test_a_machine_that_cannot_run_it_has_a_reason_in_place_of_figures(estimates):
    found = estimates.on_own(PROJECT, EFFORT, 10)
    told = estimate_to_proto("p", dataclasses.replace(found, unfit_reason="has no GPU"))
    assert (told.unfit_reason, told.machine.cpu_model, told.expected_cost, told.measurement_count) == ("has no GPU", "CPU", 0, 0)
    assert not any(told.HasField(name) for name in ("expected_duration", "start_up", "epoch", "ending"))
    assert told.basis == machine_pb2.ESTIMATE_BASIS_UNSPECIFIED
    fitting = estimate_to_proto("p", found)
    assert fitting.expected_duration.seconds > 0
    assert not fitting.unfit_reason


def _broken(change):
    message = measured_to_proto("p", MeasuredMachine(GPU, (run(),)), own=False)
    change(message)
    return message


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda m: setattr(m.machine, "cpu_cores", 0), "machine.cpu_cores"),
        (lambda m: setattr(m.machine, "cpu_model", "a\nb"), "machine.cpu_model"),
        (lambda m: setattr(m.machine, "gpu_model", "x" * 101), "machine.gpu_model"),
        (lambda m: setattr(m.machine, "gpu_model", ""), "machine.gpu_count"),
        (lambda m: setattr(m.machine, "memory_bytes", -1), "machine.memory_bytes"),
        (lambda m: setattr(m.machine.price, "per_hour", float("nan")), "machine.price.currency"),
        (lambda m: m.machine.price.MergeFrom(machine_pb2.Price(currency="EUR", per_hour=float("nan"))), "machine.price.per_hour"),
        (lambda m: m.machine.price.MergeFrom(machine_pb2.Price(currency="EUR")), "machine.price.rate"),
        (lambda m: setattr(m.measurements[0], "id", "../../x"), "measurements[0].id"),
        (lambda m: setattr(m.measurements[0], "epochs", 0), "measurements[0].epochs"),
        (lambda m: m.measurements[0].training.FromSeconds(-5), "measurements[0].train"),
        (lambda m: m.measurements[0].taken.FromSeconds(5), "measurements[0].taken"),
        (lambda m: setattr(m.measurements[0].measured_time, "seconds", 1 << 60), "measurements[0].measured_time"),
        (lambda m: setattr(m.measurements[0].effort, "gflops", float("nan")), "measurements[0].effort.gflops"),
        (lambda m: setattr(m.measurements[0].effort, "task", "paint"), "measurements[0].effort.task"),
        (lambda m: setattr(m.measurements[0].effort, "model", ""), "measurements[0].effort.model"),
        (lambda m: setattr(m.measurements[0].effort, "dataset_digest", "x"), "measurements[0].effort.dataset_digest"),
        (lambda m: m.measurements.extend([m.measurements[0]] * MOST_MEASUREMENTS), "measurements"),
    ],
)
def test_what_a_stranger_sends_is_checked(change, field):
    with pytest.raises(YardError) as refused:
        measured_from_proto([_broken(change)])
    assert refused.value.metadata["field"] == f"measured_machines[0].{field}"


def test_too_many_machines_at_once():
    with pytest.raises(YardError, match="at most 50"):
        measured_from_proto([machine_pb2.MeasuredMachine()] * 51)


def test_a_price_is_a_rate_and_a_currency():
    assert price_from_proto(machine_pb2.Price(currency="EUR", per_month=730.5), "price").cost(7200) == pytest.approx(2)
    with pytest.raises(YardError, match="three capital letters"):
        price_from_proto(machine_pb2.Price(currency="euro", per_hour=1), "price")
