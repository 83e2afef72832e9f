"""What the export service and its workers read from the environment."""

from __future__ import annotations

from pydantic import Field

from visionyard.kit.config import Address, JobServiceSettings, listen_field, metrics_listen_field


class ExportSettings(JobServiceSettings):
    """The export service's settings."""

    listen: Address = listen_field(50053)
    metrics_listen: Address = metrics_listen_field(9103)
    export_slots: int = Field(
        1, ge=1, le=64, description="How many exports run at once; each needs about 2 GiB of memory and all cores for a while."
    )
