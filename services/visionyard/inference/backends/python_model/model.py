"""Runs a serving graph with ONNX Runtime inside Triton's Python backend.

This file is copied into each version directory and runs in Triton's own environment (its NumPy is older than ours), so it imports nothing of
visionyard. What it must know stands in the model's `config.pbtxt` as parameters: `threads` (of one instance).

Python backend: https://github.com/triton-inference-server/python_backend (`TritonPythonModel`).
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

_OUTPUTS = ("boxes", "scores", "classes", "anchors")


class TritonPythonModel:
    """One instance: a process of its own with one ONNX Runtime session."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads `model.onnx` from the version directory.

        Args:
            args: Triton's description of the instance; `model_config` is JSON.

        Raises:
            RuntimeError: a GPU was asked for and ONNX Runtime has none to offer; falling back to the CPU would hide it.
        """
        parameters = json.loads(args["model_config"])["parameters"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(parameters["threads"]["string_value"])
        options.inter_op_num_threads = 1
        # Threads that spin while they wait take the cores from the service beside it, which decodes images.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        if args["model_instance_kind"] == "GPU":
            if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
                raise RuntimeError("a GPU was asked for, but the ONNX Runtime in Triton's environment runs on CPUs only")
            providers: list[Any] = [
                # HEURISTIC: trying every convolution out, the default, holds up the first request of each new shape.
                ("CUDAExecutionProvider", {"device_id": args["model_instance_device_id"], "cudnn_conv_algo_search": "HEURISTIC"})
            ]
        else:
            providers = ["CPUExecutionProvider"]
        path = Path(args["model_repository"]) / args["model_version"] / "model.onnx"
        # Left to itself, ONNX Runtime would go on with the CPU where CUDA does not start, or fails later.
        self._session = onnxruntime.InferenceSession(str(path), options, providers=providers, enable_fallback=0)
        if self._session.get_providers()[0] != (wanted := providers[0][0] if isinstance(providers[0], tuple) else providers[0]):
            raise RuntimeError(f"{wanted} was asked for, but ONNX Runtime took {self._session.get_providers()[0]}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answers requests; those of one input shape run as one batch.

        Args:
            requests: Each with `images`, UINT8 [N, H, W, 3]; Triton brings together only what fits into `max_batch_size`.

        Returns:
            A response a request: the graph's outputs, and `compute_us` INT64 [N, 1], how long the graph ran for it.
        """
        images = [pb_utils.get_input_tensor_by_name(request, "images").as_numpy() for request in requests]
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for index, image in enumerate(images):
            by_shape.setdefault(image.shape[1:], []).append(index)
        responses: list[Any] = [None] * len(requests)
        for indices in by_shape.values():
            batch = images[indices[0]] if len(indices) == 1 else np.concatenate([images[index] for index in indices])
            begin = time.perf_counter()
            try:
                outputs = self._session.run(_OUTPUTS, {"images": batch})
            except Exception as error:  # noqa: BLE001 - a request that ONNX Runtime refuses must not fail those beside it
                for index in indices:
                    responses[index] = pb_utils.InferenceResponse(error=pb_utils.TritonError(f"ONNX Runtime: {error}"))
                continue
            elapsed_us = int((time.perf_counter() - begin) * 1e6)
            offset = 0
            for index in indices:
                count = len(images[index])
                tensors = [
                    pb_utils.Tensor(name, np.ascontiguousarray(output[offset : offset + count]))
                    for name, output in zip(_OUTPUTS, outputs)  # noqa: B905  # the stub may be of a Python that has no `strict`
                ]
                tensors.append(pb_utils.Tensor("compute_us", np.full((count, 1), elapsed_us, np.int64)))
                responses[index] = pb_utils.InferenceResponse(output_tensors=tensors)
                offset += count
        return responses

    def finalize(self) -> None:
        """Lets go of the session."""
        del self._session
