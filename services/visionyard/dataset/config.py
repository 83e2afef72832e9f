"""What the dataset service and its workers read from the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from visionyard.kit.config import Address, JobServiceSettings, listen_field, metrics_listen_field
from visionyard.kit.vision.decode import MAX_PIXELS


class DatasetSettings(JobServiceSettings):
    """The dataset service's settings."""

    listen: Address = listen_field(50051)
    metrics_listen: Address = metrics_listen_field(9101)
    import_slots: int = Field(
        1, ge=1, le=64, description="How many imports run at once; each uses up to 8 threads and about 1 GiB of memory."
    )
    image_limit_pixels: int = Field(
        MAX_PIXELS,
        ge=100,
        description="The largest image taken from a source, width times height in pixels; larger ones are listed and left out.",
    )
    archive_entries_limit: int = Field(2_000_000, ge=1, description="The most files and folders that an archive may hold.")
    archive_unpacked_limit_bytes: int = Field(2 << 40, ge=1 << 20, description="The most bytes that an archive may unpack to.")
    upload_limit_bytes: int = Field(1 << 40, ge=1, description="The largest archive taken, in bytes.")
    upload_keep_days: float = Field(
        7.0, gt=0, le=3650, description="Days after which an upload that nothing came of is deleted; longer than a job may wait."
    )

    def upload_copies(self) -> Path:
        """Where copies of uploads lie for the workers of this machine."""
        return self.work_dir / "uploads"
