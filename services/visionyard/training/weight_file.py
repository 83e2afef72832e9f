"""Weight files from strangers, looked at without running anything: what kind of file it is, and what its pickle asks for.

A ``.pt`` is a zip that ``torch.save`` wrote (stored, not compressed) with a pickle, ``<name>/data.pkl``, and the tensors' bytes. A pickle is a program;
here only its opcodes are read. What passes is then opened by torch's own restricted unpickler, in a child process with limits.
"""

from __future__ import annotations

import io
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from visionyard.kit.errors import Reason, YardError

_LFS = b"version https://git-lfs.github.com/spec/"
_ZIP = b"PK\x03\x04"
_MAX_ENTRIES = 50_000
_MAX_PICKLE_BYTES = 64 << 20
_MAX_OPCODES = 20_000_000
_ENCRYPTED = 0x1
_YOLOV5 = re.compile(r"models\.(yolo|common|experimental)\b|utils\.autoanchor")

# What torch 2.14's weights_only unpickler (torch/_weights_only_unpickler.py) and Ultralytics 8.4.190's _SafeLoad (ultralytics/nn/tasks.py) take.
_ALLOWED = frozenset(
    {
        "__builtin__.set",
        "builtins.set",
        "builtins.getattr",  # _SafeLoad puts a restricted one in its place
        "__builtin__.getattr",
        "_codecs.encode",
        "collections.Counter",
        "collections.OrderedDict",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
        "pathlib.PosixPath",
        "pathlib.WindowsPath",
        "pathlib._local.PosixPath",
        "pathlib._local.WindowsPath",
        "torch.Size",
        "torch.Tensor",
        "torch.device",
        "torch.storage.UntypedStorage",
        "torch.storage.TypedStorage",
        "torch.torch_version.TorchVersion",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_tensor_v3",
        "torchvision.transforms.functional.InterpolationMode",
        "ultralytics.utils.IterableSimpleNamespace",
        "ultralytics.yolo.utils.IterableSimpleNamespace",
        "ultralytics.utils.loss.E2EDetectLoss",
        "ultralytics.utils.loss.v10DetectLoss",
        "ultralytics.utils.loss.v8DetectionLoss",
        "ultralytics.utils.loss.BboxLoss",
        "ultralytics.utils.loss.DFLoss",
        "ultralytics.utils.tal.TaskAlignedAssigner",
    }
)
_ALLOWED_SHAPES = re.compile(
    r"torch\.(?:[A-Z][A-Za-z]*Storage|(?:b?float|u?int|complex|q?u?int)\d+|bool|long|half|double)"
    r"|torch\.nn\.modules\.[a-z_0-9]+\.[A-Z][A-Za-z0-9]*"
    r"|torch\.nn\.parameter\.Parameter"
    r"|torchvision\.transforms\.transforms\.(?:Compose|Normalize|Resize|CenterCrop|ToTensor)"
    r"|ultralytics\.nn\.(?:tasks|modules(?:\.[a-z_0-9]+)?)\.[A-Za-z][A-Za-z0-9]*"
)


def check_weight_file(path: Path, name: str) -> None:
    """Refuses what is no checkpoint, and what would run code when unpickled.

    Args:
        path: The file.
        name: What to call it in messages.

    Raises:
        YardError: WEIGHTS_UNREADABLE or WEIGHTS_UNSAFE.
    """
    with path.open("rb") as file:
        start = file.read(512)
        if start.startswith(_LFS):
            raise unreadable(
                name, "is a Git LFS pointer, not the weights themselves: run `git lfs pull` where it came from and push the real file"
            )
        if not start:
            raise unreadable(name, "is empty")
        if not start.startswith(_ZIP):
            _check_other(path, file, name)
    _check_zip(path, name)


def unreadable(name: str, what: str) -> YardError:
    """A WEIGHTS_UNREADABLE error."""
    return YardError(Reason.WEIGHTS_UNREADABLE, f"{name} {what}", {"file": name})


def unsafe(name: str, symbol: str) -> YardError:
    """A WEIGHTS_UNSAFE error that names what the pickle asks for."""
    shown = symbol[:200]
    return YardError(
        Reason.WEIGHTS_UNSAFE,
        f"{name} asks for {shown} when it is opened, which is outside what weights need, so it was not opened: "
        "use weights saved by Ultralytics from a source that you trust",
        {"file": name, "symbol": shown},
    )


def _check_other(path: Path, file: IO[bytes], name: str) -> None:
    """A file that is no zip: a bare pickle is looked at all the same, so that the message names what it would have run."""
    file.seek(0)
    try:
        _check_symbols(file.read(_MAX_PICKLE_BYTES), name)
    except YardError as error:
        if error.reason is Reason.WEIGHTS_UNSAFE or "YOLOv5" in error.message:
            raise
    size = path.stat().st_size
    raise unreadable(name, f"is no PyTorch checkpoint (a zip of {size} bytes was expected): push the .pt file that Ultralytics saved")


def _check_zip(path: Path, name: str) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(entries, path.stat().st_size, name)
            pickles = [entry for entry in entries if entry.filename.rsplit("/", 1)[-1] == "data.pkl"]
            if any(entry.filename.split("/", 1)[-1].startswith("code/") for entry in entries):
                raise unreadable(name, "is a TorchScript archive, not a checkpoint: push the .pt file that training saved")
            if len(pickles) != 1 or pickles[0].file_size > _MAX_PICKLE_BYTES:
                raise unreadable(name, "is a zip, but no PyTorch checkpoint: push the .pt file that Ultralytics saved")
            _check_symbols(archive.read(pickles[0]), name)
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, UnicodeDecodeError) as error:
        raise unreadable(name, f"is truncated or damaged ({type(error).__name__}): download or copy it again") from None
    if damaged is not None:
        raise unreadable(name, "is damaged, a checksum in it is wrong: download or copy it again")


def _check_entries(entries: list[zipfile.ZipInfo], size: int, name: str) -> None:
    names = [entry.filename for entry in entries]
    if len(entries) > _MAX_ENTRIES or len(set(names)) != len(names):
        raise unreadable(name, "is a zip with too many or doubled entries, not one that torch.save wrote")
    for entry in entries:
        if entry.flag_bits & _ENCRYPTED or entry.compress_type != zipfile.ZIP_STORED:
            raise unreadable(name, "is a zip with compressed or encrypted entries, not one that torch.save wrote")
    if sum(entry.file_size for entry in entries) > size:
        raise unreadable(name, "is a zip whose entries overlap, not one that torch.save wrote")


def _check_symbols(data: bytes, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python's own reader, about escapes in a stranger's strings
        for symbol in pickle_symbols(data, name):
            _check_symbol(symbol, name)


def _check_symbol(symbol: str, name: str) -> None:
    if _YOLOV5.match(symbol):
        raise unreadable(
            name,
            "holds weights of the original YOLOv5 repository, which Ultralytics cannot load: use the converted ones instead, such as yolov5nu.pt",
        )
    if symbol not in _ALLOWED and not _ALLOWED_SHAPES.fullmatch(symbol):
        raise unsafe(name, symbol)


class _Strings:
    """Follows the strings on a pickle's stack well enough to name what STACK_GLOBAL asks for; torch's own unpickler refuses that opcode anyway."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._strings: list[str] = []
        self._memo: dict[int, str] = {}

    def follow(self, opcode: str, argument: object) -> None:
        newest = self._strings[-1] if self._strings else ""
        if opcode == "MEMOIZE":
            self._memo[len(self._memo)] = newest
        elif opcode in {"PUT", "BINPUT", "LONG_BINPUT"} and isinstance(argument, int):
            self._memo[argument] = newest
        elif opcode in {"GET", "BINGET", "LONG_BINGET"} and isinstance(argument, int):
            self._strings.append(self._memo.get(argument, ""))
        elif isinstance(argument, str):
            self._strings.append(argument)
        del self._strings[:-4]

    def last_two(self) -> str:
        if len(self._strings) < 2:  # noqa: PLR2004 - module and name
            raise unsafe(self._name, "a name that is computed")
        return f"{self._strings[-2]}.{self._strings[-1]}"


def pickle_symbols(data: bytes, name: str) -> Iterator[str]:
    """What a pickle imports when it is loaded, as ``module.name``, in order; nothing is loaded.

    Args:
        data: The pickle.
        name: What to call the file in messages.

    Raises:
        YardError: WEIGHTS_UNREADABLE, the bytes are no pickle; WEIGHTS_UNSAFE, it imports by means that cannot be followed.
    """
    trace = _Strings(name)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(data))):
            if count > _MAX_OPCODES:
                raise unreadable(name, "holds a pickle that is longer than any model's")
            if opcode.name in {"GLOBAL", "INST"}:
                yield str(argument).replace(" ", ".", 1)
            elif opcode.name == "STACK_GLOBAL":
                yield trace.last_two()
            elif opcode.name in {"EXT1", "EXT2", "EXT4"}:
                raise unsafe(name, f"extension {argument}")
            else:
                trace.follow(opcode.name, argument)
    except (ValueError, KeyError, IndexError, OverflowError, UnicodeDecodeError) as error:
        raise unreadable(name, f"is no PyTorch checkpoint, or a damaged one ({type(error).__name__})") from None
