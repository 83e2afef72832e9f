"""Datumaro (https://github.com/open-edge-platform/datumaro) reads the long tail of formats for us, in an environment of its own: it pins old versions of what others need.

The worker unpacks the source, :mod:`.datumaro_program` reads it behind walls, and what it writes is a labelling of the same source: images come from the archive, as ever.
"""

from __future__ import annotations

import difflib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visionyard.dataset.archives.entry import Archive
from visionyard.dataset.converting import datumaro_program
from visionyard.dataset.converting.confined import TookTooLong, run_confined
from visionyard.dataset.converting.unpacking import unpack
from visionyard.dataset.formats.datumaro import Conversion
from visionyard.kit.errors import Reason, YardError

SETTING = "VISIONYARD_DATUMARO_PYTHON"
_NAME = re.compile(r"[a-z0-9][a-z0-9_]{0,63}\Z")
_ANSWER_BYTES = 16 << 20
_SHOWN = 400
_LISTED = 150
_ENVIRONMENT = {
    # Each thread's stack and arena counts against the memory it may have.
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "RAYON_NUM_THREADS"), "1"),
    "MALLOC_ARENA_MAX": "2",
    "TQDM_DISABLE": "1",
    "PYTHONUTF8": "1",
}

Progress = Callable[[str, int, int, str], None]
"""Phase, done, total, unit. Raises where the work is to stop."""


def is_format_name(name: str) -> bool:
    """Whether it is spelt as Datumaro spells the names of formats; whether there is such a format only Datumaro knows."""
    return _NAME.match(name) is not None


def missing() -> YardError:
    """A CONVERTER_MISSING error: no Datumaro was set up."""
    return YardError(
        Reason.CONVERTER_MISSING,
        f"this service has no Datumaro: run `make setup-datumaro` on its machine and name the Python of that environment in {SETTING}"
        " (`yard up` finds it by itself), or export the data set as COCO, YOLO or Pascal VOC",
        {"setting": SETTING},
    )


@dataclass(frozen=True)
class ConversionLimits:
    """What one conversion may ask of this machine.

    Attributes:
        memory_bytes: The most address space of its process; libraries take about 2 GiB of it. Datumaro holds every label in memory.
        output_bytes: The longest file that it may write.
        total_s: The longest that it may take, in seconds.
        reserve_bytes: What stays free on the disk.
    """

    memory_bytes: int = 8 << 30
    output_bytes: int = 8 << 30
    total_s: float = 6 * 3600.0
    reserve_bytes: int = 1 << 30


class Datumaro:
    """Converts sources.

    Args:
        python: The Python of Datumaro's environment.
        limits: What a conversion may ask of this machine.
    """

    def __init__(self, python: str, limits: ConversionLimits | None = None) -> None:
        self._python = python
        self._limits = limits or ConversionLimits()

    def convert(self, archive: Archive, format_: str, scratch: Path, progress: Progress) -> Conversion:
        """Unpacks an archive and has it read.

        Args:
            archive: The source.
            format_: The format's name in Datumaro.
            scratch: A private folder, in which what was unpacked is deleted again and the result stays.
            progress: Hears how far it is, and stops it.

        Raises:
            YardError: CONVERTER_MISSING, FORMAT_UNKNOWN, CONVERSION_FAILED, DISK_FULL, and what :func:`unpack` raises.
        """
        folder, out = scratch / "unpacked", scratch / "converted"
        for made in (folder, out):
            made.mkdir()
        try:
            unpack(archive, folder, self._limits.reserve_bytes, lambda count: progress("unpacking for Datumaro", count, 0, "files"))
            answer = self._answer(archive.name, folder, format_, out, lambda: progress("reading with Datumaro", 0, 0, ""))
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if isinstance(done := answer.get("done"), dict):
            return Conversion(format_, out / "items.jsonl", _texts(done.get("classes")), _texts(done.get("keypoints")))
        if answer.get("no_landlock"):
            raise YardError(
                Reason.CONVERTER_MISSING,
                "Datumaro is not started here: the machine's kernel has no Landlock (Linux 5.13 with CONFIG_SECURITY_LANDLOCK), without which a source could"
                " have it read any file of this machine",
                {"setting": SETTING},
            )
        if "unknown" in answer:
            raise _unknown(format_, _texts(answer["unknown"]))
        raise _failed(archive.name, format_, str(answer.get("failed") or "it gave no answer"))

    def _answer(self, name: str, folder: Path, format_: str, out: Path, check: Callable[[], None]) -> dict[str, Any]:
        """Runs the program; what it answers is not trusted more than the source."""
        limits = self._limits
        spare = max(0, shutil.disk_usage(out).free - limits.reserve_bytes)
        arguments = (folder, format_, out, os.getpid(), limits.memory_bytes, min(limits.output_bytes, spare))
        command = [self._python, "-I", "-B", datumaro_program.__file__, *map(str, arguments)]
        try:
            code = run_confined(command, _ENVIRONMENT, out, limits.total_s, check)
        except TookTooLong:
            raise _failed(name, format_, f"it took longer than {limits.total_s:g} s") from None
        except OSError as error:
            raise missing() from error
        if code:
            what = f"was ended by signal {-code}, as when memory runs out" if code < 0 else f"ended with exit code {code}"
            raise _failed(name, format_, f"it {what}")
        try:
            with (out / "answer.json").open("rb") as file:
                answer = json.loads(file.read(_ANSWER_BYTES))
        except (OSError, ValueError, RecursionError):
            answer = None
        return answer if isinstance(answer, dict) else {}


def _unknown(format_: str, known: tuple[str, ...]) -> YardError:
    nearest = difflib.get_close_matches(format_, known, n=3)
    meant = f"; was {' or '.join(nearest)} meant?" if nearest else "."
    return YardError(Reason.FORMAT_UNKNOWN, f"Datumaro reads no format {format_!r}{meant} It reads {', '.join(known[:_LISTED])}")


def _failed(name: str, format_: str, why: str) -> YardError:
    shown = "".join(c if c.isprintable() else " " for c in why)[:_SHOWN]
    return YardError(
        Reason.CONVERSION_FAILED,
        f"Datumaro could not read {name} as {format_}: {shown}; look whether the folders are as that format has them",
        {"format": format_},
    )


def _texts(written: Any) -> tuple[str, ...]:
    return tuple(text for text in written if isinstance(text, str)) if isinstance(written, list) else ()
