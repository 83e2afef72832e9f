"""What the dataset service and its workers read from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from visionyard.dataset.fetching.addresses import SETTING, AllowList
from visionyard.dataset.fetching.patience import FetchLimits
from visionyard.dataset.fetching.s3 import S3Access
from visionyard.kit.config import Address, JobServiceSettings, S3Endpoint, listen_field, metrics_listen_field, quota_field
from visionyard.kit.vision.decode import MAX_PIXELS


def _check_allow(value: str) -> str:
    AllowList.parse(value)
    return value


def _check_private(value: str) -> str:
    AllowList.parse("", value)
    return value


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
    project_quota_bytes: int = quota_field()
    collection_grace_s: float = Field(
        3600.0,
        ge=0,
        le=3650 * 86_400,
        description="A collection that is not told otherwise leaves objects younger than this alone, in seconds.",
    )
    upload_keep_days: float = Field(
        7.0, gt=0, le=3650, description="Days after which an upload that nothing came of is deleted; longer than a job may wait."
    )
    datumaro_python: str = Field(
        "",
        description="The Python of an environment with Datumaro (make setup-datumaro), which reads the formats that are read by nothing here; none: they are refused.",
    )
    import_allow: Annotated[str, AfterValidator(_check_allow)] = Field(
        "",
        description="What the service may fetch for imports, with commas between: https://host/prefix, http://host:port/prefix, s3://bucket/prefix."
        " Each entry allows what lies below it; redirects must lead to listed addresses too.",
    )
    import_private_hosts: Annotated[str, AfterValidator(_check_private)] = Field(
        "",
        description="Hosts of that list that may lie at private addresses, with commas between. An IP address in the list itself needs no mention here.",
    )
    import_fetch_limit_s: float = Field(
        6 * 3600.0, gt=0, le=7 * 86400, description="The longest that fetching a source may take, in seconds."
    )
    import_fetch_patience_s: float = Field(
        300.0, gt=0, le=86400, description="How long a source may be away, or send next to nothing, before it is given up, in seconds."
    )
    import_s3_own_store: bool = Field(
        default=False,
        description="Whether s3:// sources lie in the service's own store, under other buckets; else the settings below say where.",
    )
    import_s3_endpoint: S3Endpoint | None = Field(None, description="Where s3:// sources lie, host:port without a scheme.")
    import_s3_access_key: str = Field("", description="The access key for s3:// sources; none: only what everybody may read.")
    import_s3_secret_key: SecretStr | None = Field(None, description="The secret key for s3:// sources.")
    import_s3_region: str = Field("us-east-1", min_length=1, description="The region of s3:// sources.")
    import_s3_secure: bool = Field(default=True, description="Whether s3:// sources are spoken to over https.")

    @model_validator(mode="after")
    def _sources_fit(self) -> Self:
        buckets = {entry.host for entry in self.allow_list().entries if entry.scheme == "s3"}
        if self.import_s3_own_store and self.import_s3_endpoint:
            raise ValueError("VISIONYARD_IMPORT_S3_OWN_STORE and VISIONYARD_IMPORT_S3_ENDPOINT contradict each other: set one of them")
        if bool(self.import_s3_access_key) != bool(self._source_secret()):
            raise ValueError("VISIONYARD_IMPORT_S3_ACCESS_KEY and VISIONYARD_IMPORT_S3_SECRET_KEY go together: set both or none")
        access = self.source_access()
        if buckets and access is None:
            raise ValueError(f"{SETTING} names s3:// sources: set VISIONYARD_IMPORT_S3_ENDPOINT, or VISIONYARD_IMPORT_S3_OWN_STORE=true")
        if self.s3_bucket in buckets and access is not None and access.endpoint == self.s3_endpoint:
            raise ValueError(f"{SETTING} names s3://{self.s3_bucket}, the service's own bucket, which holds every project: name another")
        return self

    def _source_secret(self) -> str:
        return self.import_s3_secret_key.get_secret_value() if self.import_s3_secret_key else ""

    def allow_list(self) -> AllowList:
        """What may be fetched."""
        return AllowList.parse(self.import_allow, self.import_private_hosts)

    def source_access(self) -> S3Access | None:
        """Where ``s3://`` sources lie; None where there are none."""
        if self.import_s3_own_store:
            return S3Access(self.s3_endpoint, self.s3_access_key, self.s3_secret_key.get_secret_value(), self.s3_region, self.s3_secure)
        if not self.import_s3_endpoint:
            return None
        return S3Access(
            self.import_s3_endpoint, self.import_s3_access_key, self._source_secret(), self.import_s3_region, self.import_s3_secure
        )

    def fetch_limits(self) -> FetchLimits:
        """What a source may ask of this machine."""
        return FetchLimits(self.upload_limit_bytes, self.import_fetch_limit_s, self.import_fetch_patience_s)

    def upload_copies(self) -> Path:
        """Where copies of uploads lie for the workers of this machine."""
        return self.work_dir / "uploads"
