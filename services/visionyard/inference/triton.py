"""Triton over gRPC: ready, index, load, unload, infer.

Wraps tritonclient's asyncio client; its exceptions end here. Protocol:
https://github.com/triton-inference-server/server/tree/main/docs/protocol (KServe v2 and the model repository extension).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tritonclient.grpc import InferInput, InferRequestedOutput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from visionyard.inference.backends.config import COMPUTE_OUTPUT
from visionyard.inference.execution import TritonBackend
from visionyard.inference.modelserver import Inference, ModelBroken, ModelRefused, ModelServer, TritonLost
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.vision.nms import Candidates

_OUTPUTS = ("boxes", "scores", "classes", "anchors")
_INDEX_TIMEOUT_S = 1.0
_UNLOAD_TIMEOUT_S = 30.0
# "Stub process 'm_0_0' is not healthy.": Triton 2.51 neither restarts it nor calls the model unready.
_STUB_DIED = "tub process"
_LOST = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"})
# gRPC's own back-off grows to two minutes, far too long for a server on the same host that is restarted within seconds.
_CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.enable_http_proxy", 0),
]


def _status(error: InferenceServerException) -> str:
    return str(error.status() or "").removeprefix("StatusCode.")


class TritonClient(ModelServer):
    """One Triton, see ModelServer. Reconnects by itself; every call is bounded in time. Made and used on one event loop.

    Args:
        url: Its gRPC address, host:port.
        backend: Which backend its models run on: decides which outputs they have.
    """

    def __init__(self, url: str, backend: TritonBackend) -> None:
        self._url = url
        self._client = InferenceServerClient(url, channel_args=_CHANNEL_OPTIONS)
        names = (*_OUTPUTS, COMPUTE_OUTPUT) if backend is TritonBackend.PYTHON else _OUTPUTS
        self._outputs = [InferRequestedOutput(name) for name in names]
        self._tells_compute = backend is TritonBackend.PYTHON

    async def close(self) -> None:
        """Closes the connection."""
        await self._client.close()

    def unavailable(self) -> YardError:
        """See ModelServer."""
        message = f"the inference server (Triton) at {self._url} does not answer: see that it runs, then try again"
        return YardError(Reason.TRITON_UNAVAILABLE, message, {"endpoint": self._url}, retry_after_s=2.0)

    async def ready_models(self) -> set[str]:
        """See ModelServer."""
        return {name for name, state in (await self._index()).items() if state == "READY"}

    async def loaded_models(self) -> set[str]:
        """See ModelServer."""
        return {name for name, state in (await self._index()).items() if state in {"READY", "LOADING", "UNLOADING"}}

    async def _index(self) -> dict[str, str]:
        try:
            index = await self._client.get_model_repository_index(client_timeout=_INDEX_TIMEOUT_S)
        except InferenceServerException as error:
            raise TritonLost(error.message()) from error
        return {entry.name: entry.state for entry in index.models}

    async def load(self, model: str, timeout_s: float) -> None:
        """See ModelServer."""
        try:
            await self._client.load_model(model, client_timeout=timeout_s)
        except InferenceServerException as error:
            # A dead stub process says nothing about the model; the next load starts another.
            if _status(error) in _LOST or _STUB_DIED in str(error.message()):
                raise TritonLost(error.message()) from error
            raise ModelRefused(error.message()) from error

    async def unload(self, model: str) -> None:
        """See ModelServer."""
        try:
            await self._client.unload_model(model, client_timeout=_UNLOAD_TIMEOUT_S)
        except InferenceServerException as error:
            if _status(error) in _LOST:
                raise TritonLost(error.message()) from error

    async def infer(self, model: str, images: NDArray[np.uint8], timeout_s: float) -> Inference:
        """See ModelServer."""
        tensor = InferInput("images", list(images.shape), "UINT8")
        tensor.set_data_from_numpy(images)
        try:
            result = await self._client.infer(model, [tensor], outputs=self._outputs, client_timeout=timeout_s)
        except InferenceServerException as error:
            raise _translate(error) from error
        boxes, scores, classes, anchors = (result.as_numpy(name)[0] for name in _OUTPUTS)
        compute_ms = float(result.as_numpy(COMPUTE_OUTPUT)[0, 0]) / 1000 if self._tells_compute else None
        return Inference(Candidates(boxes, scores, classes, anchors), compute_ms)


def _translate(error: InferenceServerException) -> Exception:
    status, message = _status(error), str(error.message())
    if status == "DEADLINE_EXCEEDED":
        return TimeoutError(message)
    if _STUB_DIED in message:
        return ModelBroken(message)
    # NOT_FOUND and "not ready": Triton came back without its models.
    if status in {"UNAVAILABLE", "NOT_FOUND", "CANCELLED"} or "is not ready" in message:
        return TritonLost(message)
    return ModelRefused(message)
