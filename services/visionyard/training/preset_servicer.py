"""``visionyard.training.v1.PresetService``: each RPC translates its request, calls a use case in a thread, and translates the answer."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import grpc.aio

from visionyard.kit.names import ProjectName, ResourceName
from visionyard.kit.server.listing import list_page
from visionyard.training import preset_mapping as mapping
from visionyard.training.presets import COLLECTION, Presets
from visionyard.training.v1 import preset_pb2, preset_service_pb2_grpc
from visionyard.training.v1 import preset_service_pb2 as messages

Context = grpc.aio.ServicerContext[Any, Any]


class PresetServicer(preset_service_pb2_grpc.PresetServiceServicer):
    """Presets.

    Args:
        presets: The use cases.
    """

    def __init__(self, presets: Presets) -> None:
        self._presets = presets

    async def SavePreset(self, request: messages.SavePresetRequest, _context: Context) -> messages.SavePresetResponse:
        """Saves a preset."""
        saved = await asyncio.to_thread(self._presets.save, mapping.preset_from_proto(request.preset))
        return messages.SavePresetResponse(preset=mapping.preset_to_proto(saved))

    async def GetPreset(self, request: messages.GetPresetRequest, _context: Context) -> messages.GetPresetResponse:
        """Reads a preset."""
        found = await asyncio.to_thread(self._presets.get, ResourceName.parse(request.name, COLLECTION))
        return messages.GetPresetResponse(preset=mapping.preset_to_proto(found))

    async def ListPresets(self, request: messages.ListPresetsRequest, _context: Context) -> messages.ListPresetsResponse:
        """Reads a page of presets."""
        read = partial(self._presets.list, ProjectName.parse(request.parent))
        presets, token = await list_page(request, preset_pb2.Preset, read, mapping.preset_to_proto)
        return messages.ListPresetsResponse(presets=presets, next_page_token=token)

    async def DeletePreset(self, request: messages.DeletePresetRequest, _context: Context) -> messages.DeletePresetResponse:
        """Takes a preset away."""
        await asyncio.to_thread(self._presets.delete, ResourceName.parse(request.name, COLLECTION))
        return messages.DeletePresetResponse()
