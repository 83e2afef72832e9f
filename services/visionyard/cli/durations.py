"""Durations as people write and read them."""

from __future__ import annotations

import re

import typer
from google.protobuf import duration_pb2

_PARTS = re.compile(r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?")
_SECONDS = (86_400, 3600, 60, 1)
_LONGEST_TEXT = 40
_SHORT_S = 120


def parse_duration(text: str, option: str) -> float:
    """Seconds of ``90s``, ``2h``, ``1h30m`` or ``1d12h``.

    Args:
        text: What was given.
        option: The option that it was given for.

    Raises:
        typer.BadParameter: it is none, or not above 0.
    """
    match = _PARTS.fullmatch(text.replace(" ", "")) if text and len(text) <= _LONGEST_TEXT else None
    seconds = sum(float(part or 0) * unit for part, unit in zip(match.groups(), _SECONDS, strict=True)) if match else 0.0
    if not seconds > 0:
        raise typer.BadParameter(f"{text!r} is no duration above 0: give one like 90s, 45m, 2h, 1h30m or 1d", param_hint=option)
    return seconds


def duration_text(seconds: float) -> str:
    """Seconds for people: ``42 s``, ``12 min``, ``1 h 30 min``, ``2 d 4 h``."""
    if seconds < _SHORT_S:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    shown = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(shown[:2])


def duration_option(seconds: float) -> str:
    """Seconds as :func:`parse_duration` reads them: ``12d``, ``1h30m``, ``0.5s``."""
    left, text = round(seconds, 3), ""
    for unit, letter in zip(_SECONDS[:-1], "dhm", strict=True):
        count, left = divmod(left, unit)
        text += f"{count:.0f}{letter}" if count else ""
    return text + (f"{left:.3f}".rstrip("0").rstrip(".") + "s" if left or not text else "")


def seconds_of(duration: duration_pb2.Duration) -> float:
    """A message's duration in seconds."""
    return duration.seconds + duration.nanos / 1e9
