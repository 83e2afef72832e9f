"""Estimates of trainings that are asked for, on the service's own machine and on all others that are known. All calls block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from visionyard.kit.errors import Reason, YardError, invalid_field
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.kit.objectstore.port import ObjectStore
from visionyard.kit.pagination import paginate
from visionyard.training.estimates.effort import Effort
from visionyard.training.estimates.estimator import Basis, Expectation, estimate
from visionyard.training.estimates.machine import Machine
from visionyard.training.estimates.measured import COLLECTION, MeasuredMachine, MeasuredMachines
from visionyard.training.estimates.price import PRICE_SETTINGS, Price


@dataclass(frozen=True)
class MachineEstimate:
    """An estimate for a machine.

    Attributes:
        known: The machine with what is known of it.
        own: Whether the service runs on it.
        expectation: The estimate.
        machines: How many such machines train together.
        unfit_reason: Why the machine cannot run it, to go on behind its name; empty where it can.
    """

    known: MeasuredMachine
    own: bool
    expectation: Expectation
    machines: int = 1
    unfit_reason: str = ""

    @property
    def cost(self) -> float:
        """What the training is expected to cost, each machine at this one's price; 0 where it has none."""
        return self.known.price.times(self.machines).cost(self.expectation.seconds) if self.known.price else 0.0

    def to_json(self) -> dict[str, Any]:
        """The form in which a job's pointers keep it, without the measurements it was made of."""
        return {
            "machine": self.known.machine.to_json(),
            "price": self.known.price.to_json() if self.known.price else None,
            "machines": self.machines,
            **vars(self.expectation),
            "basis": self.expectation.basis.value,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> MachineEstimate:
        """Reads what :meth:`to_json` wrote."""
        rest = {key: value for key, value in document.items() if key not in {"machine", "price", "machines"}}
        machines = document.get("machines", 1)  # documents of earlier builds lack it
        known = MeasuredMachine(Machine.from_json(document["machine"]), price=Price.from_json(document["price"]))
        return cls(known, own=True, expectation=Expectation(**{**rest, "basis": Basis(rest["basis"])}), machines=machines)


def estimate_of(pointers: Mapping[str, Any]) -> MachineEstimate | None:
    """What was expected of a job when it was queued, by its pointers; None where it was not estimated."""
    document = pointers.get("estimate")
    return MachineEstimate.from_json(document) if document else None


class Estimates:
    """The use cases.

    Args:
        store: The bucket.
        own: The machine that the service runs on.
        price: What it costs; None where nobody has said so.
    """

    def __init__(self, store: ObjectStore, own: Machine, price: Price | None = None) -> None:
        self.measured = MeasuredMachines(store)
        self.own = own
        self.price = price

    def machines(self, project: ProjectName) -> list[MeasuredMachine]:
        """All machines that are known, the service's own first."""
        found = {one.machine.id: one for one in self.measured.all(project.project)}
        own = replace(found.pop(self.own.id, MeasuredMachine(self.own)), price=self.price)
        return [own, *found.values()]

    def list_machines(self, project: ProjectName, page_size: int, page_token: str) -> tuple[list[MeasuredMachine], str]:
        """A page of them, and the next page's token; raises YardError (INVALID_FIELD, INVALID_PAGE_TOKEN)."""
        page = paginate(f"{project}/{COLLECTION}", page_size, page_token)
        left = self.machines(project)
        ids = [one.machine.id for one in left]
        if page.after in ids:
            left = left[ids.index(page.after) + 1 :]
        shown = left[: page.size]
        return shown, page.next_token(shown[-1].machine.id) if len(left) > page.size else ""

    def export(self, project: ProjectName, names: list[ResourceName]) -> list[MeasuredMachine]:
        """Machines with their measurements; of all where none is named.

        Raises:
            YardError: MACHINE_NOT_FOUND, also of one of another project.
        """
        known = {one.machine.id: one for one in self.machines(project)}
        for name in names:
            if name.project != project.project or name.id not in known:
                raise YardError(
                    Reason.MACHINE_NOT_FOUND, f"there is no machine {name.id!r} in {project}: see `yard machine list`", {"name": str(name)}
                )
        wanted = [known[name.id] for name in names] if names else list(known.values())
        return [one for one in wanted if one.measurements or names]

    def bring_in(self, project: ProjectName, found: list[MeasuredMachine]) -> list[MeasuredMachine]:
        """Adds what was measured elsewhere; gives the machines as they are known now; raises YardError (TOO_MANY_MACHINES)."""
        self.measured.bring_in(project.project, found)
        wanted = {one.machine.id for one in found}
        return [one for one in self.machines(project) if one.machine.id in wanted]

    def set_price(self, name: ResourceName, price: Price) -> MeasuredMachine:
        """Says what a machine costs, for a project; raises YardError (MACHINE_NOT_FOUND; INVALID_FIELD for the service's own, which its operator sets)."""
        if name.id == self.own.id:
            raise invalid_field("name", f"is the machine that the service runs on: set {PRICE_SETTINGS} of the training service")
        return self.measured.set_price(name.project, name.id, price)

    def on_own(self, project: ProjectName, effort: Effort, epochs: int, hours: float = 0.0) -> MachineEstimate:
        """An estimate for the service's own machine; arguments as of :func:`.estimator.estimate`."""
        known = replace(self.measured.find(project.project, self.own.id) or MeasuredMachine(self.own), price=self.price)
        return _estimated(known, effort, epochs, hours, own=True)

    def side_by_side(self, project: ProjectName, effort: Effort, epochs: int, hours: float = 0.0) -> list[MachineEstimate]:
        """An estimate for each machine that is known, the service's own first; arguments as of :func:`.estimator.estimate`."""
        return [_estimated(one, effort, epochs, hours, own=one.machine.id == self.own.id) for one in self.machines(project)]


def _estimated(known: MeasuredMachine, effort: Effort, epochs: int, hours: float, *, own: bool) -> MachineEstimate:
    return MachineEstimate(known, own, estimate(effort, epochs, known.machine, known.measurements, hours), effort.nodes)
