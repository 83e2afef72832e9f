"""Presets: ways to train that a project keeps under names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visionyard.client.errors import ClientError, local
from visionyard.client.jobs import PAGE, all_pages
from visionyard.client.references import References
from visionyard.client.sync import Blocking, Facade
from visionyard.client.training import CREATE_TIMEOUT_S
from visionyard.client.transport import Transport
from visionyard.kit.errors import Code, Reason
from visionyard.training.v1 import preset_pb2, preset_service_pb2
from visionyard.training.v1.preset_service_pb2_grpc import PresetServiceStub

_COLLECTION = "presets"


class AsyncPresets:
    """The presets of a project.

    Args:
        transport: The channels.
        names: Names in the project.
    """

    def __init__(self, transport: Transport, names: References) -> None:
        self._transport = transport
        self._names = names

    async def save(
        self,
        preset: str,
        *,
        epochs: int = 0,
        batch_size: int = 0,
        image_size_px: int = 0,
        overrides: Mapping[str, Any] | None = None,
        best_metric: str = "",
        tensorboard: bool = False,
        gpus: int = 0,
        time_limit_s: float = 0.0,
    ) -> preset_pb2.Preset:
        """Saves a preset in place of what has its name, if anything has.

        Args:
            preset: Its id or resource name.
            epochs: How many; 0: not said. So are the others.
            batch_size: Images a step.
            image_size_px: The image's side in pixels.
            overrides: Other training arguments of Ultralytics by their own names.
            best_metric: What chooses the best epoch and stops early.
            tensorboard: Whether event files for TensorBoard are kept with the job's files.
            gpus: How many processes train together on each machine.
            time_limit_s: How long a training may take, in seconds.

        Raises:
            ClientError: INVALID_ARGUMENT (INVALID_NAME, INVALID_FIELD, UNKNOWN_ARGUMENT, RESERVED_ARGUMENT, INVALID_ARGUMENT_VALUE).
        """
        message = preset_pb2.Preset(
            name=self._names.resource(_COLLECTION, preset),
            epochs=epochs,
            batch_size=batch_size,
            image_size_px=image_size_px,
            best_metric=best_metric,
            tensorboard=tensorboard,
            gpus=gpus,
        )
        if time_limit_s:
            message.time_limit.FromMilliseconds(round(time_limit_s * 1000))
        try:
            message.overrides.update(dict(overrides or {}))
        except (TypeError, ValueError) as error:
            raise local(
                Reason.INVALID_ARGUMENT_VALUE,
                f"a training argument cannot be sent: {error}; use numbers, texts, booleans and lists of them",
            ) from error
        response = await self._transport.unary(
            "training",
            lambda channel: PresetServiceStub(channel).SavePreset,
            preset_service_pb2.SavePresetRequest(preset=message),
            timeout_s=CREATE_TIMEOUT_S,
        )
        return response.preset

    async def get(self, preset: str) -> preset_pb2.Preset:
        """Reads a preset.

        Raises:
            ClientError: NOT_FOUND (PRESET_NOT_FOUND).
        """
        request = preset_service_pb2.GetPresetRequest(name=self._names.resource(_COLLECTION, preset))
        response = await self._transport.unary("training", lambda channel: PresetServiceStub(channel).GetPreset, request)
        return response.preset

    async def list(self, where: str = "") -> list[preset_pb2.Preset]:
        """All presets, by name.

        Args:
            where: Only those, as ``epochs > 100``: a filter of https://google.aip.dev/160 on the preset's fields.

        Raises:
            ClientError: INVALID_ARGUMENT (INVALID_FIELD), ``where`` is no filter.
        """

        async def page(token: str) -> preset_service_pb2.ListPresetsResponse:
            request = preset_service_pb2.ListPresetsRequest(parent=self._names.parent, page_size=PAGE, page_token=token, filter=where)
            return await self._transport.unary("training", lambda channel: PresetServiceStub(channel).ListPresets, request)

        return await all_pages(page, "presets")

    async def delete(self, preset: str) -> None:
        """Takes a preset away.

        Raises:
            ClientError: NOT_FOUND (PRESET_NOT_FOUND).
        """
        request = preset_service_pb2.DeletePresetRequest(name=self._names.resource(_COLLECTION, preset))
        try:
            await self._transport.unary("training", lambda channel: PresetServiceStub(channel).DeletePreset, request)
        except ClientError as error:
            # A repeated call whose first answer got lost finds what it wanted: no preset.
            if error.code is not Code.NOT_FOUND or error.attempts == 1:
                raise


class Presets(Facade[AsyncPresets]):
    """The presets of a project."""

    save = Blocking(AsyncPresets.save)
    get = Blocking(AsyncPresets.get)
    list = Blocking(AsyncPresets.list)
    delete = Blocking(AsyncPresets.delete)
