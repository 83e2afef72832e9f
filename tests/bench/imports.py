"""Imports: images per second beside Datumaro's, the price of a version with 1 % new images, memory; and, with :mod:`versions`, what reading a version takes."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
from pathlib import Path
from typing import Any

import pictures
import versions
from processes import watched
from stack import Stack, say, timed

IMAGES, ROUNDS, NEW_IMAGES = 5000, 3, 50
TINY = (10_000, 100_000)
_DATUMARO = Path(__file__).resolve().parents[2] / ".venv-datumaro" / "bin" / "python"


def measure(stack: Stack, folder: Path) -> None:
    """Prints all of it; ``folder`` gets the data.

    What takes a second or two comes first: after the tens of thousands of files that the comparison makes, a disk may be several times slower for minutes.
    """
    sources = pictures.generate(folder / "pictures", IMAGES)
    size = sum(path.stat().st_size for path in (sources["voc"] / "JPEGImages").iterdir())
    say(f"import     {IMAGES} generated pictures of {pictures.WIDTH} x {pictures.HEIGHT}, {size / IMAGES / 1e3:.0f} kB each")
    _little_new(stack, folder, sources["voc"])
    versions.measure(stack, folder)
    for name, source in sources.items():
        _side_by_side(stack, folder, name, source)
    _memory(stack, folder)


def _side_by_side(stack: Stack, folder: Path, name: str, source: Path) -> None:
    """In turn, so that what else the machine does hits both; into fresh folders and projects, cleared when all is over (deleting slows what follows it)."""
    ours: list[float] = []
    theirs: list[float] = []
    their_commands: list[float] = []
    cpu: dict[str, float] = {}
    for turn in range(ROUNDS):
        if _DATUMARO.exists():
            with timed(their_commands):
                theirs.append(_datumaro(source, name, folder / f"datumaro-{name}-{turn}"))
        with watched(stack) as usage, timed(ours):
            stack.yard("dataset", "import", source, "--name", name, project=f"{name}-{turn}")
        cpu = usage.cpu_s
    shown = ", ".join(f"{IMAGES / seconds:.0f}" for seconds in ours)
    per_image = ", ".join(f"{process} {seconds / IMAGES * 1e3:.2f}" for process, seconds in cpu.items())
    say(f"import     {name}: {shown} images/s; CPU ms an image in the last turn: {per_image}, all {sum(cpu.values()) / IMAGES * 1e3:.2f}")
    if not theirs:
        say("import     no comparison with Datumaro: its environment is not there, `make setup-datumaro` makes it")
        return
    say(
        f"import     {name}, Datumaro: {', '.join(f'{IMAGES / s:.0f}' for s in theirs)} images/s; ours {_ratio(theirs, ours):.2f} times as fast (wanted: at least 2), "
        f"{_ratio(their_commands, ours):.2f} times with the start of its Python, as ours has it"
    )


def _ratio(theirs: list[float], ours: list[float]) -> float:
    """How many times as fast ours is, the median of the turns."""
    return statistics.median(their / our for our, their in zip(ours, theirs, strict=True))


def _datumaro(source: Path, name: str, target: Path) -> float:
    script = Path(__file__).with_name("datumaro_convert.py")
    done = subprocess.run([_DATUMARO, script, source, name, target], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"Datumaro failed: {done.stderr[-800:]}")
    told = json.loads(done.stdout)
    if told["images"] != IMAGES:
        raise SystemExit(f"Datumaro read {told['images']} of {IMAGES} images")
    return float(told["seconds"])


def _little_new(stack: Stack, folder: Path, source: Path) -> None:
    """The whole source again with 1 % of its pictures replaced, and as many new ones alone added to the version, some times."""
    first: list[float] = []
    again: list[float] = []
    added: list[float] = []
    with timed(first):
        whole = stack.yard("dataset", "import", source, "--name", "set", project="new")["import_job"]["dataset_version"]
    changed = folder / "changed"
    shutil.copytree(source, changed, copy_function=os.link)
    for index in range(NEW_IMAGES):
        image = changed / "JPEGImages" / f"frame_{index * (IMAGES // NEW_IMAGES):06d}.jpg"
        image.unlink()  # a link to the source's
        image.write_bytes(pictures.photo(index, seed=1)[0])
    with timed(again):
        second = stack.yard("dataset", "import", changed, "--name", "set", project="new")["import_job"]["dataset_version"]
    _say_price("imported again with 1 % replaced", second, whole, again, first)
    for turn in range(ROUNDS):
        new = folder / f"new-{turn}"
        pictures.voc_folder(new, NEW_IMAGES, seed=2 + turn)
        with timed(added):
            third = stack.yard("dataset", "append", "set", new, project="new")["import_job"]["dataset_version"]
    _say_price("1 % appended", third, whole, added, first)


def _say_price(what: str, version: dict[str, Any], whole: dict[str, Any], seconds: list[float], first: list[float]) -> None:
    bytes_ratio = int(version["stored_bytes"]) / int(whole["stored_bytes"])
    say(
        f"import     {what}: {bytes_ratio:.2%} of the bytes (wanted: at most 2 %), {', '.join(f'{s:.1f}' for s in seconds)} s of {first[0]:.1f} s, "
        f"{statistics.median(seconds) / first[0]:.2f} of the time (wanted: at most 0.20)"
    )


def _memory(stack: Stack, folder: Path) -> None:
    peaks: list[float] = []
    for count in TINY:
        archive = folder / "tiny.tar"
        pictures.tiny_archive(archive, count)
        seconds: list[float] = []
        with watched(stack) as usage, timed(seconds):
            stack.yard("dataset", "import", archive, "--name", "tiny", project=f"tiny-{count}")
        peaks.append(usage.worker_mb)
        say(
            f"import     {count} pictures of 64 x 64: {count / seconds[0]:.0f} images/s, the worker's memory peaks at {usage.worker_mb:.0f} MB (wanted: below 600)"
        )
        archive.unlink()
    say(f"import     memory of {TINY[1]} over that of {TINY[0]}: {peaks[1] / peaks[0]:.2f} (wanted: at most 1.30)")
