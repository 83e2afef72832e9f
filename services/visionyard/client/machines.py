"""Machines that trainings were measured on, and what is measured there."""

from __future__ import annotations

from collections.abc import Sequence

from visionyard.client.jobs import PAGE, all_pages
from visionyard.client.references import References
from visionyard.client.sync import Blocking, Facade
from visionyard.client.transport import Transport
from visionyard.training.v1 import machine_pb2, machine_service_pb2
from visionyard.training.v1.machine_service_pb2_grpc import MachineServiceStub

_COLLECTION = "machines"


class AsyncMachines:
    """The machines that a project knows.

    Args:
        transport: The channels.
        names: Names in the project.
    """

    def __init__(self, transport: Transport, names: References) -> None:
        self._transport = transport
        self._names = names

    async def export(self, machines: Sequence[str] = ()) -> machine_service_pb2.ExportMachinesResponse:
        """Machines with their measurements; of all that have any where none is named.

        Args:
            machines: Their ids or resource names.

        Raises:
            ClientError: NOT_FOUND (MACHINE_NOT_FOUND).
        """
        names = [self._names.resource(_COLLECTION, machine) for machine in machines]
        request = machine_service_pb2.ExportMachinesRequest(parent=self._names.parent, names=names)
        return await self._transport.unary("training", lambda channel: MachineServiceStub(channel).ExportMachines, request)

    async def bring_in(self, measured: Sequence[machine_pb2.MeasuredMachine]) -> list[machine_pb2.Machine]:
        """Adds what ``export`` gave elsewhere. Doing so twice is no error.

        Returns:
            The machines as they are known now.

        Raises:
            ClientError: INVALID_ARGUMENT (INVALID_FIELD), RESOURCE_EXHAUSTED (TOO_MANY_MACHINES).
        """
        request = machine_service_pb2.ImportMachinesRequest(parent=self._names.parent, measured_machines=measured)
        response = await self._transport.unary("training", lambda channel: MachineServiceStub(channel).ImportMachines, request)
        return list(response.machines)

    async def set_price(self, machine: str, price: machine_pb2.Price) -> machine_pb2.Machine:
        """Says what a machine costs; that of the service's own is set where the service is configured.

        Raises:
            ClientError: INVALID_ARGUMENT (INVALID_FIELD), NOT_FOUND (MACHINE_NOT_FOUND).
        """
        request = machine_service_pb2.SetMachinePriceRequest(name=self._names.resource(_COLLECTION, machine), price=price)
        response = await self._transport.unary("training", lambda channel: MachineServiceStub(channel).SetMachinePrice, request)
        return response.machine

    async def list(self) -> list[machine_pb2.Machine]:
        """The service's own machine, then all others that are known, the newest measured first."""

        async def page(token: str) -> machine_service_pb2.ListMachinesResponse:
            request = machine_service_pb2.ListMachinesRequest(parent=self._names.parent, page_size=PAGE, page_token=token)
            return await self._transport.unary("training", lambda channel: MachineServiceStub(channel).ListMachines, request)

        return await all_pages(page, "machines")


class Machines(Facade[AsyncMachines]):
    """The machines that a project knows."""

    list = Blocking(AsyncMachines.list)
    export = Blocking(AsyncMachines.export)
    bring_in = Blocking(AsyncMachines.bring_in)
    set_price = Blocking(AsyncMachines.set_price)
