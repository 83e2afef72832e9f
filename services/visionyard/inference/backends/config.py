"""`config.pbtxt` of a deployed artifact, written from Triton's own ModelConfig message so that nothing misspelt can reach Triton.

Format: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from __future__ import annotations

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from visionyard.inference.execution import Device, Execution, TritonBackend

COMPUTE_OUTPUT = "compute_us"
"""An output that only the Python backend has: how many microseconds the graph ran."""
_WARM_UP_IMAGES = 1


def model_config(name: str, execution: Execution, max_candidates: int, warm_up_size_px: int) -> pb.ModelConfig:
    """Builds the configuration of a serving graph.

    Args:
        name: The Triton model's name.
        execution: How it is run.
        max_candidates: The graph's K, how many candidates an image it gives.
        warm_up_size_px: Side of the blank image that each instance sees before it is ready, a multiple of the stride.
    """
    config = pb.ModelConfig(name=name, backend=execution.backend.value, max_batch_size=execution.max_batch_size)
    # Only one version directory exists under a name; saying so keeps a stray one from being served.
    config.version_policy.specific.versions.append(1)
    config.input.add(name="images", data_type=pb.TYPE_UINT8, dims=[-1, -1, 3])
    for output, data_type, dims in (
        ("boxes", pb.TYPE_FP32, [max_candidates, 4]),
        ("scores", pb.TYPE_FP32, [max_candidates]),
        ("classes", pb.TYPE_INT32, [max_candidates]),
        ("anchors", pb.TYPE_INT32, [max_candidates]),
    ):
        config.output.add(name=output, data_type=data_type, dims=dims)
    kind = pb.ModelInstanceGroup.KIND_GPU if execution.device is Device.GPU else pb.ModelInstanceGroup.KIND_CPU
    config.instance_group.add(kind=kind, count=execution.instances)
    if execution.max_batch_size > 1:
        # Without a delay: what has queued up while an instance was busy goes together, nobody waits for company.
        config.dynamic_batching.max_queue_delay_microseconds = 0
    if execution.backend is TritonBackend.PYTHON:
        config.output.add(name=COMPUTE_OUTPUT, data_type=pb.TYPE_INT64, dims=[1])
        config.parameters["threads"].string_value = str(execution.threads)
    else:
        config.default_model_filename = "model.onnx"
        if execution.device is Device.CPU:
            config.parameters["intra_op_thread_count"].string_value = str(execution.threads)
            config.parameters["inter_op_thread_count"].string_value = "1"
        else:
            # HEURISTIC. By default every convolution is tried out anew for each new input shape, for a second or so, while requests wait. As a parameter:
            # as an option of an execution accelerator it is ignored (triton-inference-server/server#8808).
            config.parameters["cudnn_conv_algo_search"].string_value = "1"
    warm_up = config.model_warmup.add(name="blank", batch_size=_WARM_UP_IMAGES)
    blank = warm_up.inputs["images"]
    blank.data_type = pb.TYPE_UINT8
    blank.dims.extend([warm_up_size_px, warm_up_size_px, 3])
    blank.zero_data = True
    return config


def to_pbtxt(config: pb.ModelConfig) -> str:
    """The message in the text form that Triton reads."""
    return text_format.MessageToString(config)
