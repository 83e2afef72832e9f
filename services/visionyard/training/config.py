"""What the training service and its workers read from their environment."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from visionyard.kit.config import Address, JobServiceSettings, listen_field, metrics_listen_field, quota_field
from visionyard.training.estimates.price import Price
from visionyard.training.official_weights import check_mirror

_GIB = 1 << 30


class TrainingSettings(JobServiceSettings):
    """The training room's settings."""

    listen: Address = listen_field(50052)
    metrics_listen: Address = metrics_listen_field(9102)
    upload_limit_bytes: int = Field(8 * _GIB, ge=1, description="The largest weight file taken, in bytes.")
    project_quota_bytes: int = quota_field()
    dataset_cache_bytes: int = Field(
        64 * _GIB, ge=1, description="How much of this machine's disk the training sets may take below VISIONYARD_WORK_DIR, in bytes."
    )
    cpu_slots: int = Field(
        1, ge=1, le=64, description="How many trainings run at once on a machine without a GPU; with GPUs it is one for each."
    )
    ray_address: str = Field(
        "",
        description="The Ray cluster for trainings with the launcher ray: HOST:PORT where this machine is one of its nodes, ray://HOST:10001 from elsewhere.",
    )
    ray_device: Literal["gpu", "cpu"] = Field(
        "gpu", description="What each process of a training takes on the Ray cluster: gpu or, for clusters without any, cpu."
    )
    ray_wait_s: float = Field(
        3600.0, gt=0, le=604_800, description="How long a training waits until all its Ray nodes are there, in seconds; then it fails."
    )
    gpu_free_ratio: float = Field(
        0.5,
        ge=0,
        le=1,
        description="A GPU gets a training only while at least this share of its memory is free, whoever uses the rest (0 to 1; 0: always).",
    )
    finish_epoch_s: float = Field(
        600.0,
        ge=0,
        le=86_400,
        description="How long a training may go on to the end of its epoch when a job of a higher priority wants its slot, in seconds.",
    )
    job_memory_bytes: int = Field(
        0,
        ge=0,
        description="The most memory that a training may take, in bytes; 0: as much as the machine has, and where that is at its end the one that takes the most is ended.",
    )
    job_disk_bytes: int = Field(
        0, ge=0, description="The most that a training's own files may take on this machine's disk, in bytes; 0: as for the memory."
    )
    inspection_timeout_s: float = Field(180.0, gt=0, le=3600, description="How long opening a pushed weight file may take, in seconds.")
    inspections: int = Field(
        2,
        ge=1,
        le=64,
        description="How many pushed weight files are opened at once; each may take 6 GiB of memory; more wait, or are refused.",
    )
    price_per_hour: float | None = Field(
        None, ge=0, le=1e6, description="What an hour of this machine costs you; for estimates, budgets and reports. None: not known."
    )
    price_per_month: float | None = Field(
        None, ge=0, le=1e9, description="What a month of this machine costs you, in place of VISIONYARD_PRICE_PER_HOUR."
    )
    price_currency: str = Field("EUR", pattern=r"^[A-Z]{3}$", description="The currency of the price, three letters of ISO 4217.")
    weights_mirror: Annotated[str, AfterValidator(check_mirror)] = Field(
        "",
        description="The address below which clients find Ultralytics' published weights by their file names; none: Ultralytics' release on GitHub.",
    )
    end_command: SecretStr = Field(
        SecretStr(""),
        description="A shell command for when all trainings have ended and their results are safe, such as the rented machine's power-off; none: nothing is run.",
    )
    end_after_s: float = Field(
        300.0, ge=0, le=604_800, description="How long nothing must have been to do before VISIONYARD_END_COMMAND runs, in seconds."
    )
    keep_local: bool = Field(
        default=False,
        description="Whether the store's disk outlives this machine, so that what is in the store is safe from VISIONYARD_END_COMMAND.",
    )
    notify_private: bool = Field(
        default=False,
        description="Whether messages about jobs may go to loopback and private addresses; link-local ones, where clouds keep credentials, they never go to.",
    )

    @model_validator(mode="after")
    def _one_price(self) -> Self:
        if self.price_per_hour is not None and self.price_per_month is not None:
            raise ValueError("VISIONYARD_PRICE_PER_HOUR and VISIONYARD_PRICE_PER_MONTH are both set: leave one out")
        return self

    @property
    def price(self) -> Price | None:
        """What this machine costs; None where nobody has said so."""
        if self.price_per_hour is None and self.price_per_month is None:
            return None
        return Price(self.price_currency, self.price_per_hour, self.price_per_month)
