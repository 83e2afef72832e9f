"""What runs in Datumaro's environment: ``python -I datumaro_program.py FOLDER FORMAT OUT PARENT MEMORY OUTPUT``.

It reads the data set in FOLDER and writes ``OUT/items.jsonl``, a line an image, and ``OUT/answer.json``, how it went. That environment has Datumaro and what it needs, nothing
of ours, so this file imports nothing of ours; :mod:`.datumaro` starts it.

The files that it reads are a stranger's, and may name other files as theirs: a list of classes, say, that lies at ``/proc/1/environ``. Datumaro refuses some such names, but
nobody can vouch for eighty parsers. So before Datumaro is imported the process shuts itself in with Landlock (https://docs.kernel.org/userspace-api/landlock.html): of the file system it sees its own libraries and FOLDER, it writes below OUT
only, starts no program and opens no TCP connection. A kernel without Landlock is told of, and nothing is read.

A line of ``items.jsonl``: ``{"image": path below FOLDER, or the image's name; "split": text; "annotations": [...]}``, each annotation as COCO has it
(https://cocodataset.org/#format-data) with its class's name as ``category``, or besides: ``{"whole": true}`` for a class of the whole picture (``"denied": true``: it is not in
it), ``{"ellipse": [left, top, right, bottom]}``, ``{"unsupported": kind}``. A line with ``"more": true`` goes on with the image of the line before.

``answer.json``: ``{"done": {"classes": [names that labels have, in Datumaro's order], "keypoints": [names]}}``, ``{"unknown": [formats]}``, ``{"failed": sentence}`` or
``{"no_landlock": true}``.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import struct
import sys
import traceback
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

_UNPICKLED = frozenset({"cifar", "brats_numpy"})
"""Formats whose files are pickles, which are programs: not read, however restricted the reader. Their pictures are no files either."""
_LINE_CHARACTERS, _MESSAGE_CHARACTERS = 1 << 20, 300
_MAX_ROOTS = 8
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_WRITE, _READ_FILE, _READ_DIR = 1 << 1, 1 << 2, 1 << 3
_KEPT_FILES = _WRITE | _READ_FILE | _READ_DIR | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 13 | 1 << 14
"""For the folder that it writes to: read, write, shorten, remove, move, make folders and files; no link, pipe, socket or device, on which the worker could stumble."""
_RIGHTS_OF_VERSION = (13, 14, 15, 15, 16)
"""How many rights on files each version of Landlock knows, from version 1; all later ones know the last number."""
_TCP_SINCE, _SCOPES_SINCE = 4, 6
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64")
_READABLE_FILES = ("/etc/ld.so.cache", "/etc/localtime", "/dev/urandom", "/dev/null")


def limit(parent: int, memory_bytes: int, output_bytes: int) -> None:
    """Ends with the parent; no more memory and no longer file than it may have; no core file."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # the parent died before that was in force
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (output_bytes, output_bytes))


def shut_in(readable: Iterable[str], writable: str) -> bool:
    """Closes everything but some folders to this process, for good; False where the kernel has no Landlock.

    Args:
        readable: Folders, and files, that may be read.
        writable: The folder that may be written to as well.

    Raises:
        OSError: the kernel has it, but refused.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def call(number: int, *arguments: Any) -> int:
        return int(libc.syscall(ctypes.c_long(number), *arguments))

    version = call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(1))
    if version < 1:
        return False
    rights = (1 << _RIGHTS_OF_VERSION[min(version, len(_RIGHTS_OF_VERSION)) - 1]) - 1
    fields = [rights, *([3] if version >= _TCP_SINCE else []), *([3] if version >= _SCOPES_SINCE else [])]
    attributes = struct.pack(f"={len(fields)}Q", *fields)
    rules = _checked(call(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0)))
    for path, allowed in (*((path, _READ_FILE | _READ_DIR) for path in readable), (writable, rights & _KEPT_FILES)):
        if not os.path.exists(path):  # noqa: PTH110 - a path of the system, as text
            continue
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", allowed if os.path.isdir(path) else allowed & ~_READ_DIR, opened)  # noqa: PTH112 - likewise
        _checked(call(_ADD_RULE, ctypes.c_int(rules), ctypes.c_int(1), rule, ctypes.c_uint32(0)))
        os.close(opened)
    _checked(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _checked(call(_RESTRICT_SELF, ctypes.c_int(rules), ctypes.c_uint32(0)))
    os.close(rules)
    return True


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def written(annotations: Iterable[Any], names: Sequence[str]) -> list[dict[str, Any]]:
    """An item's annotations as lines have them.

    In Datumaro the parts of one object (the polygons of its outline, its box, its keypoints) are annotations of one group and one label.

    Args:
        annotations: Datumaro's.
        names: The classes' names by label.
    """
    found: list[dict[str, Any]] = []
    objects: dict[tuple[int, str | None], dict[str, Any]] = {}
    for annotation in annotations:
        kind, label = annotation.type.name, getattr(annotation, "label", None)
        category = names[label] if label is not None and 0 <= label < len(names) else None
        part = _part(kind, annotation)
        place = (annotation.group, category)
        whole = objects.get(place) if annotation.group and kind in {"bbox", "polygon", "mask", "points"} else None
        if whole is None or not _joined(whole, part):
            made = {"category": category, **part}
            found.append(made)
            if annotation.group and whole is None:
                objects[place] = made
    return found


def _joined(whole: dict[str, Any], part: dict[str, Any]) -> bool:
    """Puts a part to its object; False where the object has such a part already, so that it is another object's."""
    outline, more = whole.get("segmentation"), part.get("segmentation")
    if isinstance(outline, list) and isinstance(more, list):
        outline += more
        return True
    if (whole.keys() & part.keys()) - {"iscrowd"}:
        return False
    whole |= part
    return True


def _part(kind: str, a: Any) -> dict[str, Any]:
    """An annotation without its class."""
    match kind:
        case "bbox":
            part: dict[str, Any] = {"bbox": [a.x, a.y, a.w, a.h]}
        case "polygon":
            part = {"segmentation": [list(a.points)]}
        case "mask":
            part = {"segmentation": _run_lengths(a.image)}
        case "points":
            triples = zip(a.points[0::2], a.points[1::2], map(int, a.visibility), strict=True)
            part = {"keypoints": [float(number) for triple in triples for number in triple]}
        case "rotated_bbox":
            part = {"bbox": [a.cx - a.w / 2, a.cy - a.h / 2, a.w, a.h], "attributes": {"rotation": a.r}}
        case "ellipse":
            part = {"ellipse": [a.x1, a.y1, a.x2, a.y2]}
        case "label":  # Open Images says of classes that they are not in the picture, with a score of 0
            part = {"whole": True, **({"denied": True} if a.attributes.get("score") == 0 else {})}
        case _:
            part = {"unsupported": kind}
    return {**part, "iscrowd": 1} if a.attributes.get("is_crowd") else part


def _run_lengths(mask: Any) -> dict[str, Any]:
    import numpy as np  # noqa: PLC0415 - as with Datumaro: only behind the walls
    from pycocotools import mask as masks  # noqa: PLC0415 - likewise

    packed = masks.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in packed["size"]], "counts": packed["counts"].decode("ascii")}


def image_of(item: Any, folder: str) -> str:
    """The path of an item's picture below the folder; where it has no such file, what the item is called."""
    path = getattr(item.media, "path", None)
    if isinstance(path, str) and path:
        below = os.path.relpath(os.path.realpath(path), folder)
        if not below.startswith(".."):
            return below
    return str(item.id)


def lines_of(image: str, split: str, annotations: list[dict[str, Any]]) -> Iterator[str]:
    """The lines of one image, each of a length that is read."""
    head: dict[str, Any] = {"image": image, "split": split}
    part: list[str] = []
    size = 0
    for annotation in annotations:
        text = json.dumps(annotation)
        if part and size + len(text) > _LINE_CHARACTERS:
            yield f'{json.dumps(head)[:-1]}, "annotations": [{", ".join(part)}]}}'
            head, part, size = {"more": True}, [], 0
        part.append(text)
        size += len(text) + 2
    yield f'{json.dumps(head)[:-1]}, "annotations": [{", ".join(part)}]}}'


def parts_of(root: str, format_: str) -> list[Any]:
    """The parts that a data set has in Datumaro, often one for each subset, each with classes of its own.

    They are read one by one: ``Dataset.import_from`` puts them together, and refuses to where their classes differ, as where each split has other ones.
    """
    from datumaro.components.environment import DEFAULT_ENVIRONMENT  # noqa: PLC0415 - only behind the walls

    importer = DEFAULT_ENVIRONMENT.make_importer(format_)
    parts = [
        DEFAULT_ENVIRONMENT.make_extractor(source["format"], source["url"], **(source.get("options") or {})) for source in importer(root)
    ]
    merged = importer.get_extractor_merger()  # where the parts are of one image each
    return [merged(parts)] if merged is not None else parts


def write_items(parts: Iterable[Any], folder: str, out: TextIO) -> dict[str, Any]:
    """Writes a data set's items; returns what is done."""
    from datumaro.components.annotation import AnnotationType  # noqa: PLC0415 - only behind the walls

    met: set[str | None] = set()
    classes: dict[str, None] = {}
    keypoints: list[str] = []
    count = 0
    for part in parts:
        for item in part:
            names = _names(part.categories().get(AnnotationType.label))  # some formats add to it while they read
            annotations = written(item.annotations, names)
            met.update(annotation["category"] for annotation in annotations)
            out.writelines(line + "\n" for line in lines_of(image_of(item, folder), str(item.subset or ""), annotations))
            count += 1
        classes |= dict.fromkeys(_names(part.categories().get(AnnotationType.label)))
        points = part.categories().get(AnnotationType.points)
        lists = [[str(name) for name in category.labels] for category in points.items.values()] if points is not None else []
        keypoints = keypoints or next(filter(None, lists), [])
    return {"classes": [name for name in classes if name in met], "keypoints": keypoints, "items": count}


def _names(labels: Any) -> list[str]:
    return [category.name for category in labels.items] if labels is not None else []


def roots_of(folder: str) -> Iterator[str]:
    """The folder, and where all that it holds is one folder, that one too: an archive often packs the folder itself."""
    for _ in range(_MAX_ROOTS):
        yield folder
        entries = os.listdir(folder)  # noqa: PTH208 - paths are text here, as Datumaro wants them
        folder = os.path.join(folder, entries[0]) if entries else folder  # noqa: PTH118 - likewise
        if len(entries) != 1 or not os.path.isdir(folder):  # noqa: PTH112 - likewise
            return


def convert(folder: str, format_: str, items: Path) -> dict[str, Any]:
    """Reads the data set and writes its items; returns the answer.

    Raises:
        Exception: whatever Datumaro raises.
    """
    from datumaro.components.environment import DEFAULT_ENVIRONMENT  # noqa: PLC0415 - only behind the walls

    known = sorted(name for name in DEFAULT_ENVIRONMENT.importers if name not in _UNPICKLED)
    if format_ not in known:
        return {"unknown": known}
    first: Exception | None = None
    for root in roots_of(folder):
        try:
            with items.open("w", encoding="utf-8", errors="replace") as out:
                done = write_items(parts_of(root, format_), folder, out)
        except Exception as error:  # noqa: BLE001 - Datumaro raises anything where a folder is not as it wants it
            first = first or error
            traceback.print_exc()
            continue
        if done["items"]:
            return {"done": done}
    if first is not None:
        raise first
    return {"failed": "it found no image"}


def sentence_of(error: BaseException, folder: str) -> str:
    """What went wrong, in a line that names no path of this machine."""
    cause = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = " ".join(str(cause).replace(folder + "/", "").replace(folder, "the source").split())
    return f"{type(cause).__name__}: {text}"[:_MESSAGE_CHARACTERS]


def main(arguments: Sequence[str]) -> int:
    """Writes the answer; another exit code than 0 means that there is none."""
    folder, format_, out, parent, memory_bytes, output_bytes = arguments
    folder = os.path.realpath(folder)
    limit(int(parent), int(memory_bytes), int(output_bytes))
    own = (sys.prefix, os.path.join(sys.base_prefix, "lib"), os.path.dirname(os.path.realpath(__file__)))  # noqa: PTH118, PTH120 - as above
    if not shut_in((*own, *_LIBRARIES, *_READABLE_FILES, folder), out):
        answer: dict[str, Any] = {"no_landlock": True}
    else:
        try:
            answer = convert(folder, format_, Path(out, "items.jsonl"))
        except MemoryError:
            answer = {"failed": f"it wants more than {memory_bytes} bytes of memory"}
        except Exception as error:  # noqa: BLE001 - a stranger's files can fail in any way
            answer = {"failed": sentence_of(error, folder)}
    Path(out, "answer.json").write_text(json.dumps(answer), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
