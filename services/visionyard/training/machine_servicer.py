"""``visionyard.training.v1.MachineService``: each RPC translates its request, calls a use case in a thread, and translates the answer."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import grpc.aio

from visionyard.kit.errors import invalid_field
from visionyard.kit.names import ProjectName, ResourceName
from visionyard.kit.server.listing import list_page
from visionyard.training import machine_mapping as mapping
from visionyard.training.estimates.estimates import Estimates
from visionyard.training.estimates.measured import COLLECTION, MOST_MACHINES, MeasuredMachine
from visionyard.training.v1 import machine_pb2, machine_service_pb2_grpc
from visionyard.training.v1 import machine_service_pb2 as messages

Context = grpc.aio.ServicerContext[Any, Any]


class MachineServicer(machine_service_pb2_grpc.MachineServiceServicer):
    """Machines and what was measured on them.

    Args:
        estimates: The use cases.
    """

    def __init__(self, estimates: Estimates) -> None:
        self._estimates = estimates

    async def ListMachines(self, request: messages.ListMachinesRequest, _context: Context) -> messages.ListMachinesResponse:
        """Reads a page of machines."""
        project = ProjectName.parse(request.parent)
        read = partial(self._estimates.list_machines, project)
        machines, token = await list_page(request, machine_pb2.Machine, read, partial(self._machine, project.project))
        return messages.ListMachinesResponse(machines=machines, next_page_token=token)

    async def ExportMachines(self, request: messages.ExportMachinesRequest, _context: Context) -> messages.ExportMachinesResponse:
        """Reads machines with their measurements."""
        project = ProjectName.parse(request.parent)
        if len(request.names) > MOST_MACHINES:
            raise invalid_field("names", f"takes at most {MOST_MACHINES}, not {len(request.names)}")
        names = [ResourceName.parse(name, COLLECTION) for name in request.names]
        found = await asyncio.to_thread(self._estimates.export, project, names)
        return messages.ExportMachinesResponse(
            measured_machines=[mapping.measured_to_proto(project.project, one, own=self._is_own(one)) for one in found]
        )

    async def ImportMachines(self, request: messages.ImportMachinesRequest, _context: Context) -> messages.ImportMachinesResponse:
        """Brings machines in."""
        project = ProjectName.parse(request.parent)
        found = mapping.measured_from_proto(request.measured_machines)
        known = await asyncio.to_thread(self._estimates.bring_in, project, found)
        return messages.ImportMachinesResponse(machines=[self._machine(project.project, one) for one in known])

    async def SetMachinePrice(self, request: messages.SetMachinePriceRequest, _context: Context) -> messages.SetMachinePriceResponse:
        """Says what a machine costs."""
        name = ResourceName.parse(request.name, COLLECTION)
        price = mapping.price_from_proto(request.price, "price")
        known = await asyncio.to_thread(self._estimates.set_price, name, price)
        return messages.SetMachinePriceResponse(machine=self._machine(name.project, known))

    def _is_own(self, known: MeasuredMachine) -> bool:
        return known.machine.id == self._estimates.own.id

    def _machine(self, project: str, known: MeasuredMachine) -> machine_pb2.Machine:
        return mapping.machine_to_proto(project, known, own=self._is_own(known))
