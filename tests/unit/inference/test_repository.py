from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from visionyard.inference.backends.config import COMPUTE_OUTPUT, model_config, to_pbtxt
from visionyard.inference.execution import Device, Execution, TritonBackend
from visionyard.inference.repository import ModelRepository
from visionyard.kit.artifacts.exported import Artifact, ArtifactFormat, Comparison
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import ArtifactName

ARTIFACT = Artifact(
    name=ArtifactName.parse("projects/p/models/m/versions/1/artifacts/a"),
    format=ArtifactFormat.ONNX,
    key={},
    digest="sha256:" + "0" * 64,
    size_bytes=1,
    class_names=("a", "b"),
    stride_px=32,
    image_size_px=100,
    max_candidates=1000,
    nms_applied=False,
    comparison=Comparison("nothing", 1, 0.0, 0.0, 1.0, 1.0, 0),
)


def execution(backend: TritonBackend = TritonBackend.PYTHON, device: Device = Device.CPU, batch: int = 1) -> Execution:
    return Execution(backend, device, instances=2, threads=3, max_batch_size=batch)


def parsed(run: Execution) -> model_config_pb2.ModelConfig:
    """The configuration as Triton reads it: from the file's text."""
    return text_format.Parse(to_pbtxt(model_config("p.d.0123", run, 1000, 128)), model_config_pb2.ModelConfig())


@pytest.mark.parametrize("backend", list(TritonBackend))
def test_each_backend_gets_the_serving_graphs_tensors(backend: TritonBackend) -> None:
    config = parsed(execution(backend))
    assert config.backend == backend.value
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [("images", model_config_pb2.TYPE_UINT8, [-1, -1, 3])]
    outputs = {o.name: (o.data_type, list(o.dims)) for o in config.output}
    compute = outputs.pop(COMPUTE_OUTPUT, None)
    assert (compute is not None) == (backend is TritonBackend.PYTHON)
    assert outputs == {
        "boxes": (model_config_pb2.TYPE_FP32, [1000, 4]),
        "scores": (model_config_pb2.TYPE_FP32, [1000]),
        "classes": (model_config_pb2.TYPE_INT32, [1000]),
        "anchors": (model_config_pb2.TYPE_INT32, [1000]),
    }
    assert list(config.model_warmup[0].inputs["images"].dims) == [128, 128, 3]


def test_instances_and_threads_are_those_asked_for() -> None:
    python, onnxruntime = parsed(execution()), parsed(execution(TritonBackend.ONNXRUNTIME))
    for config in (python, onnxruntime):
        (group,) = config.instance_group
        assert (group.kind, group.count) == (model_config_pb2.ModelInstanceGroup.KIND_CPU, 2)
        assert not config.HasField("dynamic_batching")
    assert python.parameters["threads"].string_value == "3"
    assert onnxruntime.parameters["intra_op_thread_count"].string_value == "3"


def test_a_gpu_batches() -> None:
    config = parsed(execution(TritonBackend.ONNXRUNTIME, Device.GPU, batch=8))
    assert config.instance_group[0].kind == model_config_pb2.ModelInstanceGroup.KIND_GPU
    assert config.max_batch_size == 8
    assert config.HasField("dynamic_batching")
    assert config.parameters["cudnn_conv_algo_search"].string_value == "1"
    assert "cudnn_conv_algo_search" not in parsed(execution(TritonBackend.ONNXRUNTIME, Device.CPU)).parameters


def test_a_model_directory_is_whole_or_not_there(tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path / "models", execution())
    repository.clear_staging()

    def broken(path: Path) -> None:
        path.write_bytes(b"half")
        raise YardError(Reason.ARTIFACT_CORRUPT, "no")

    with pytest.raises(YardError):
        repository.write("m", ARTIFACT, broken)
    assert repository.models() == []
    assert [p for p in (tmp_path / "models").rglob("*") if p.is_file()] == []
    repository.write("m", ARTIFACT, lambda path: path.write_bytes(b"graph") and None)
    assert repository.models() == ["m"]
    directory = tmp_path / "models" / "m"
    assert {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()} == {"config.pbtxt", "1/model.onnx", "1/model.py"}
    assert (directory / "1" / "model.onnx").stat().st_mode & 0o777 == 0o644


def test_a_model_directory_is_never_written_over(tmp_path: Path) -> None:
    repository = ModelRepository(tmp_path / "models", execution(TritonBackend.ONNXRUNTIME))
    repository.write("m", ARTIFACT, lambda path: path.write_bytes(b"first") and None)
    repository.write("m", ARTIFACT, lambda path: path.write_bytes(b"second") and None)
    assert (tmp_path / "models" / "m" / "1" / "model.onnx").read_bytes() == b"first"
    assert not (tmp_path / "models" / "m" / "1" / "model.py").exists()
    repository.remove("m")
    repository.remove("m")
    assert repository.models() == []


def test_the_next_start_clears_an_interrupted_write(tmp_path: Path) -> None:
    torn = tmp_path / "models" / ".staging" / "x" / "1"
    torn.mkdir(parents=True)
    repository = ModelRepository(tmp_path / "models", execution())
    assert repository.models() == []
    repository.clear_staging()
    assert not torn.exists()
