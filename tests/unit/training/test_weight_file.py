"""Weight files from strangers: nothing in them runs, and the message says what is wrong."""

from __future__ import annotations

import io
import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visionyard.kit.errors import Reason, YardError
from visionyard.training.weight_file import check_state_dict_file, check_weight_file, pickle_symbols


class Runs:
    """Unpickling it would create a file."""

    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self._marker}",)


def _zip(path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED, **more: bytes) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", "3\n")
        for name, data in more.items():
            archive.writestr(f"archive/{name}", data)
    return path


def _refusal(path: Path, check: Callable[[Path, str], None] = check_weight_file) -> YardError:
    with pytest.raises(YardError) as refused:
        check(path, path.name)
    return refused.value


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_code_is_not_opened(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "ran"
    pickled = pickle.dumps({"model": Runs(marker)}, protocol=protocol)
    bare = tmp_path / "bare.pt"
    bare.write_bytes(pickled)
    for path in (bare, _zip(tmp_path / "zipped.pt", pickled)):
        refused = _refusal(path)
        if path == bare and protocol == 0:  # text: no sign of a pickle at its start, still read as one
            assert refused.reason in {Reason.WEIGHTS_UNSAFE, Reason.WEIGHTS_UNREADABLE}
            continue
        assert refused.reason is Reason.WEIGHTS_UNSAFE
        assert "system" in refused.metadata["symbol"]
    assert not marker.exists()


@pytest.mark.parametrize(
    "symbol",
    [
        "builtins\neval",
        "builtins\nexec",
        "torch.hub\nload",
        "torch\nload",
        "torch.serialization\nload",
        "numpy\nload",
        "ultralytics.utils.downloads\nsafe_download",
    ],
)
def test_symbols_outside_the_list_are_named(tmp_path: Path, symbol: str) -> None:
    refused = _refusal(_zip(tmp_path / "w.pt", b"\x80\x02c" + symbol.encode() + b"\n."))
    assert refused.reason is Reason.WEIGHTS_UNSAFE
    assert refused.metadata["symbol"] == symbol.replace("\n", ".")


def test_extension_codes_and_computed_names_are_refused() -> None:
    for pickled in (b"\x80\x02\x82\x01.", b"\x80\x04\x93."):
        with pytest.raises(YardError) as refused:
            list(pickle_symbols(io.BytesIO(pickled), "w.pt"))
        assert refused.value.reason is Reason.WEIGHTS_UNSAFE


def test_original_yolov5_weights_are_told_from_others(tmp_path: Path) -> None:
    refused = _refusal(_zip(tmp_path / "yolov5n.pt", b"\x80\x02cmodels.yolo\nModel\n."))
    assert refused.reason is Reason.WEIGHTS_UNREADABLE
    assert "yolov5nu.pt" in refused.message


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 6\n", "Git LFS pointer"),
        (b"\xff\xd8\xff\xe0 a photo", "no PyTorch checkpoint"),
        (b"PK\x03\x04 and nothing more", "truncated"),
        (random.Random(0).randbytes(4096), "no PyTorch checkpoint"),
        (b"S'\\q'\n", "no PyTorch checkpoint"),  # an escape that Python's own reader warns of
    ],
)
def test_other_files_are_refused_in_words(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    refused = _refusal(path)
    assert refused.reason is Reason.WEIGHTS_UNREADABLE
    assert told in refused.message
    assert refused.metadata == {"file": "w.pt"}


def test_zips_that_torch_did_not_write_are_refused(tmp_path: Path) -> None:
    good = pickle.dumps({"a": 1}, protocol=2)
    compressed = _refusal(_zip(tmp_path / "bomb.pt", good, zipfile.ZIP_DEFLATED, zeros=bytes(10_000_000)))
    script = _refusal(_zip(tmp_path / "script.pt", good, **{"code/a.py": b""}))
    with zipfile.ZipFile(tmp_path / "other.pt", "w") as archive:
        archive.writestr("readme.txt", "hello")
    other = _refusal(tmp_path / "other.pt")
    damaged = _zip(tmp_path / "damaged.pt", good, tensor=b"A" * 1000)
    damaged.write_bytes(damaged.read_bytes().replace(b"A" * 1000, b"B" * 1000))
    for refused, told in (
        (compressed, "compressed"),
        (script, "TorchScript"),
        (other, "no PyTorch checkpoint"),
        (_refusal(damaged), "checksum"),
    ):
        assert refused.reason is Reason.WEIGHTS_UNREADABLE
        assert told in refused.message


def test_the_classes_of_torchvisions_networks_pass_by_their_exact_names(tmp_path: Path) -> None:
    check_weight_file(_zip(tmp_path / "w.pt", b"\x80\x02ctorchvision.models.resnet\nBasicBlock\n."), "w.pt")
    for symbol in (b"torchvision.models.resnet\nresnet18", b"torchvision.models.resnet\nResNet", b"torchvision.models\nget_model"):
        refused = _refusal(_zip(tmp_path / "w.pt", b"\x80\x02c" + symbol + b"\n."))
        assert refused.reason is Reason.WEIGHTS_UNSAFE


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_state_dict_passes_as_such_and_is_told_from_a_checkpoint(tmp_path: Path, zipped: bool) -> None:
    import torch

    path = tmp_path / "resnet.pth"
    tensors = {"a": torch.ones(3), "b": torch.nn.Parameter(torch.ones(2)), "c": torch.zeros(1, dtype=torch.float16)}
    torch.save(torch.nn.Linear(2, 2).state_dict() | tensors, path, _use_new_zipfile_serialization=zipped)
    check_state_dict_file(path, path.name)
    refused = _refusal(path)
    assert refused.reason is Reason.WEIGHTS_UNREADABLE
    assert "--arch resnet34" in refused.message


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(("what", "symbol"), [("runs", "posix.system"), ("model", "torch.nn.modules.linear.Linear")])
def test_what_holds_more_than_tensors_is_no_state_dict(tmp_path: Path, zipped: bool, what: str, symbol: str) -> None:
    import torch

    path = tmp_path / "w.pth"
    held = Runs(tmp_path / "ran") if what == "runs" else torch.nn.Linear(2, 2)
    torch.save({"a": torch.ones(3), "b": held}, path, _use_new_zipfile_serialization=zipped)
    refused = _refusal(path, check_state_dict_file)
    assert (refused.reason, refused.metadata["symbol"]) == (Reason.WEIGHTS_UNSAFE, symbol)
    assert "model.state_dict()" in refused.message
    assert not (tmp_path / "ran").exists()


def test_a_hostile_pickle_behind_the_first_of_a_legacy_file_is_found(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    evil = pickle.dumps(Runs(tmp_path / "ran"), protocol=2)
    first = data.index(b".") + 1
    for file in (data[:first] + evil + data[first:], data[: data.rindex(b"]q")] + evil):
        path.write_bytes(file)
        assert _refusal(path, check_state_dict_file).reason in {Reason.WEIGHTS_UNSAFE, Reason.WEIGHTS_UNREADABLE}
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "content", [b"", b"version https://git-lfs.github.com/spec/v1\n", b"PK\x03\x04 no", b"\xff\xd8\xff a photo", b"\x80\x02."]
)
def test_what_pytorch_did_not_save_is_no_state_dict(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    assert _refusal(path, check_state_dict_file).reason is Reason.WEIGHTS_UNREADABLE


def test_a_legacy_file_that_breaks_off_is_damaged(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "w.pth"
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:60])
    assert _refusal(path, check_state_dict_file).reason is Reason.WEIGHTS_UNREADABLE
