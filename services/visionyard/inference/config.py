"""What the inference service reads from the environment."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from visionyard.inference.execution import Device, Execution, TritonBackend
from visionyard.inference.predictor import Limits
from visionyard.kit.config import Address, ServiceSettings, listen_field, metrics_listen_field
from visionyard.kit.cpus import usable_cpus

_MIB = 1024 * 1024
_MAX_CPU_INSTANCES = 4
_GPU_BATCH = 8


class InferenceSettings(ServiceSettings):
    """The inference service's settings."""

    listen: Address = listen_field(50054)
    metrics_listen: Address = metrics_listen_field(9104)
    max_request_bytes: int = Field(64 * _MIB, ge=64 * 1024, le=1024**3, description="The largest request message taken, in bytes.")
    triton_url: Address = Field("127.0.0.1:8001", description="Triton's gRPC address, host:port; reached by this service only.")
    model_repository: Path = Field(
        description="The folder that Triton was started with as its model repository, in explicit model control; this service writes it."
    )
    triton_backend: TritonBackend = Field(
        TritonBackend.ONNXRUNTIME,
        description="Which of Triton's backends runs artifacts: onnxruntime (Triton's containers) or python (the embedded Triton).",
    )
    triton_device: Device = Field(
        Device.CPU, description="Where models run: cpu or gpu; a model never falls from the GPU to the CPU by itself."
    )
    triton_instances: int = Field(
        0, ge=0, le=64, description="Copies of a model that run at once (on each GPU); 0: on CPUs one a core, at most 4; on a GPU 1."
    )
    triton_threads: int = Field(0, ge=0, le=256, description="Threads of one instance on CPUs; 0: the cores divided by the instances.")
    triton_max_batch: int = Field(
        0, ge=0, le=128, description="How many images of one size Triton may run together; 0: 1 on CPUs, 8 on a GPU."
    )
    model_load_timeout_s: float = Field(300.0, gt=0, le=3600, description="How long Triton may take to load a model, in seconds.")
    max_image_bytes: int = Field(16 * _MIB, ge=1024, le=1024**3, description="The largest image file taken, in bytes.")
    max_image_pixels: int = Field(64 * _MIB, ge=1024, le=1024**3, description="The most pixels of an image that are decoded.")
    decode_threads: int = Field(0, ge=0, le=64, description="Threads that decode images; 0: one a core, at most 8.")
    max_images_waiting: int = Field(256, ge=1, le=100_000, description="Images taken in and not answered yet; more are refused.")
    max_images_under_way: int = Field(32, ge=1, le=10_000, description="Images decoded or in Triton at once, about 1.5 MB each.")
    predict_patience_s: float = Field(
        30.0,
        ge=0,
        le=600,
        description="How long a prediction waits for a deployment that is loading, or for Triton to come back, in seconds.",
    )
    poll_interval_s: float = Field(2.0, gt=0, le=60, description="Seconds between two looks at the bucket for other replicas' changes.")

    def execution(self) -> Execution:
        """How models are run, with what was left open filled in from this machine."""
        gpu = self.triton_device is Device.GPU
        instances = self.triton_instances or (1 if gpu else min(usable_cpus(), _MAX_CPU_INSTANCES))
        return Execution(
            backend=self.triton_backend,
            device=self.triton_device,
            instances=instances,
            threads=self.triton_threads or max(usable_cpus() // instances, 1),
            max_batch_size=self.triton_max_batch or (_GPU_BATCH if gpu else 1),
        )

    def limits(self) -> Limits:
        """What is taken."""
        return Limits(
            image_bytes=self.max_image_bytes,
            waiting=self.max_images_waiting,
            under_way=self.max_images_under_way,
        )

    def decoders(self) -> int:
        """How many threads decode."""
        return self.decode_threads or min(usable_cpus(), 8)
