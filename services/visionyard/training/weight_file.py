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
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import IO

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.torchvision_classes import TORCHVISION_CLASSES

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
        *TORCHVISION_CLASSES,  # which the workers add to torch's list
    }
)
_ALLOWED_SHAPES = re.compile(
    r"torch\.(?:[A-Z][A-Za-z]*Storage|(?:b?float|u?int|complex|q?u?int)\d+|bool|long|half|double)"
    r"|torch\.nn\.modules\.[a-z_0-9]+\.[A-Z][A-Za-z0-9]*"
    r"|torch\.nn\.parameter\.Parameter"
    r"|torchvision\.transforms\.transforms\.(?:Compose|Normalize|Resize|CenterCrop|ToTensor)"
    r"|ultralytics\.nn\.(?:tasks|modules(?:\.[a-z_0-9]+)?)\.[A-Za-z][A-Za-z0-9]*"
)
_TENSORS_ONLY = re.compile(
    r"collections\.OrderedDict|torch\._utils\._rebuild_(?:tensor|tensor_v2|parameter)|torch\.(?:[A-Z][A-Za-z]*|storage\.Untyped)Storage"
)
_REBUILDS = "torch._utils._rebuild_"
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The pickle of torch's magic number (torch/serialization.py, MAGIC_NUMBER), with which files before PyTorch 1.6 begin."""
_LEGACY_PICKLES = 5
"""That number, the format's version, facts of the machine, the object itself, and the keys of the storages that follow as plain bytes."""
_CHECKPOINT_ADVICE = "use weights saved by Ultralytics from a source that you trust"
_STATE_DICT_ADVICE = "give a network's tensors alone, as torch.save(model.state_dict(), FILE) writes them"
_ARCH_ADVICE = "if it is the state dict of a classification network of torchvision, say of which one, such as --arch resnet34"


def check_weight_file(path: Path, name: str) -> None:
    """Refuses what is no checkpoint, and what would run code when unpickled.

    Args:
        path: The file.
        name: What to call it in messages.

    Raises:
        YardError: WEIGHTS_UNREADABLE or WEIGHTS_UNSAFE.
    """
    with path.open("rb") as file:
        start = _first_bytes(file, name)
        if start.startswith(_LEGACY):
            raise unreadable(name, f"holds no model of Ultralytics, but what PyTorch before 1.6 saved: {_ARCH_ADVICE}")
        if not start.startswith(_ZIP):
            _check_other(path, file, name)
    symbols = _check_symbols(io.BytesIO(_zipped_pickle(path, name)), name, _check_model_symbol)
    if _holds_only_tensors(symbols):
        raise unreadable(name, f"holds tensors but no model, as state dicts do: {_ARCH_ADVICE}")


def check_state_dict_file(path: Path, name: str) -> None:
    """Refuses what holds anything but tensors by name: a zip that ``torch.save`` wrote, or the row of pickles that it wrote before PyTorch 1.6.

    Args:
        path: The file.
        name: What to call it in messages.

    Raises:
        YardError: WEIGHTS_UNREADABLE or WEIGHTS_UNSAFE.
    """
    with path.open("rb") as file:
        start = _first_bytes(file, name)
        if start.startswith(_ZIP):
            pickles: Iterable[IO[bytes]] = [io.BytesIO(_zipped_pickle(path, name))]
        elif start.startswith(_LEGACY):
            file.seek(0)
            pickles = [file] * _LEGACY_PICKLES  # each is read up to its end
        else:
            raise unreadable(name, f"is nothing that PyTorch saved ({path.stat().st_size} bytes): {_STATE_DICT_ADVICE}")
        for pickled in pickles:
            _check_symbols(pickled, name, _check_tensor_symbol)


def _first_bytes(file: IO[bytes], name: str) -> bytes:
    """The beginning of a file that is neither empty nor a Git LFS pointer."""
    start = file.read(512)
    if start.startswith(_LFS):
        raise unreadable(
            name, "is a Git LFS pointer, not the weights themselves: run `git lfs pull` where it came from and push the real file"
        )
    if not start:
        raise unreadable(name, "is empty")
    return start


def _holds_only_tensors(symbols: Collection[str]) -> bool:
    return any(symbol.startswith(_REBUILDS) for symbol in symbols) and all(_TENSORS_ONLY.fullmatch(symbol) for symbol in symbols)


def unreadable(name: str, what: str) -> YardError:
    """A WEIGHTS_UNREADABLE error."""
    return YardError(Reason.WEIGHTS_UNREADABLE, f"{name} {what}", {"file": name})


def unsafe(name: str, symbol: str, advice: str = _CHECKPOINT_ADVICE) -> YardError:
    """A WEIGHTS_UNSAFE error that names what the pickle asks for, and says what to do."""
    shown = symbol[:200]
    return YardError(
        Reason.WEIGHTS_UNSAFE,
        f"{name} asks for {shown} when it is opened, which is outside what weights need, so it was not opened: {advice}",
        {"file": name, "symbol": shown},
    )


def _check_other(path: Path, file: IO[bytes], name: str) -> None:
    """A file that is no zip: a bare pickle is looked at all the same, so that the message names what it would have run."""
    file.seek(0)
    try:
        _check_symbols(io.BytesIO(file.read(_MAX_PICKLE_BYTES)), name, _check_model_symbol)
    except YardError as error:
        if error.reason is Reason.WEIGHTS_UNSAFE or "YOLOv5" in error.message:
            raise
    size = path.stat().st_size
    raise unreadable(name, f"is no PyTorch checkpoint (a zip of {size} bytes was expected): push the .pt file that Ultralytics saved")


def _zipped_pickle(path: Path, name: str) -> bytes:
    """The pickle of a whole, undamaged zip that ``torch.save`` wrote."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _check_entries(entries, path.stat().st_size, name)
            pickles = [entry for entry in entries if entry.filename.rsplit("/", 1)[-1] == "data.pkl"]
            if any(entry.filename.split("/", 1)[-1].startswith("code/") for entry in entries):
                raise unreadable(name, "is a TorchScript archive, not a checkpoint: push the .pt file that training saved")
            if len(pickles) != 1 or pickles[0].file_size > _MAX_PICKLE_BYTES:
                raise unreadable(name, "is a zip, but no PyTorch checkpoint: push the .pt file that Ultralytics saved")
            pickled = archive.read(pickles[0])
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError, RuntimeError, UnicodeDecodeError) as error:
        raise unreadable(name, f"is truncated or damaged ({type(error).__name__}): download or copy it again") from None
    if damaged is not None:
        raise unreadable(name, "is damaged, a checksum in it is wrong: download or copy it again")
    return pickled


def _check_entries(entries: list[zipfile.ZipInfo], size: int, name: str) -> None:
    names = [entry.filename for entry in entries]
    if len(entries) > _MAX_ENTRIES or len(set(names)) != len(names):
        raise unreadable(name, "is a zip with too many or doubled entries, not one that torch.save wrote")
    for entry in entries:
        if entry.flag_bits & _ENCRYPTED or entry.compress_type != zipfile.ZIP_STORED:
            raise unreadable(name, "is a zip with compressed or encrypted entries, not one that torch.save wrote")
    if sum(entry.file_size for entry in entries) > size:
        raise unreadable(name, "is a zip whose entries overlap, not one that torch.save wrote")


def _check_symbols(file: IO[bytes], name: str, check: Callable[[str, str], None]) -> frozenset[str]:
    """What a pickle imports, each of it checked."""
    symbols = set()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of Python's own reader, about escapes in a stranger's strings
        for symbol in pickle_symbols(file, name):
            check(symbol, name)
            symbols.add(symbol)
    return frozenset(symbols)


def _check_tensor_symbol(symbol: str, name: str) -> None:
    if not _TENSORS_ONLY.fullmatch(symbol):
        raise unsafe(name, symbol, _STATE_DICT_ADVICE)


def _check_model_symbol(symbol: str, name: str) -> None:
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


def pickle_symbols(file: IO[bytes], name: str) -> Iterator[str]:
    """What a pickle imports when it is loaded, as ``module.name``, in order; nothing is loaded.

    Args:
        file: The pickle; it is read up to its end and no further.
        name: What to call the file in messages.

    Raises:
        YardError: WEIGHTS_UNREADABLE, the bytes are no pickle; WEIGHTS_UNSAFE, it imports by means that cannot be followed.
    """
    trace = _Strings(name)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
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
