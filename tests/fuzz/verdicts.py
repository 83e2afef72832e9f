"""What is wrong with how a parser took an input, in a word that stays the same however often it is found."""

from __future__ import annotations

import re
import traceback
from pathlib import Path

_OURS = f"{Path('visionyard', 'dataset')}"
_FRAME = re.compile(r'File "([^"]+)", line \d+ in (\S+)')
_UNFIT = re.compile(r"[^A-Za-z0-9_.<>-]+")
_MAX = 120


class Broken(Exception):
    """A parser gave what cannot be right; the message says what, without the input's own words."""


def of_error(error: BaseException) -> str:
    """What tells an exception that no parser should raise from others: its type and the innermost function of the dataset service that it came through."""
    if isinstance(error, Broken):
        return _name("broken", str(error))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _OURS in frame.filename]
    where = f"{Path(frames[-1].filename).stem}.{frames[-1].name}" if frames else "elsewhere"
    return _name(type(error).__name__, where)


def of_hang(dump: str) -> str:
    """What tells a hang from others, by the stack that faulthandler wrote: the innermost function of the dataset service."""
    frames = [(path, name) for path, name in _FRAME.findall(dump) if _OURS in path]
    return _name("hang", f"{Path(frames[0][0]).stem}.{frames[0][1]}" if frames else "elsewhere")


def of_death(signal_name: str) -> str:
    """What tells a dead process."""
    return _name("crash", signal_name)


def _name(kind: str, where: str) -> str:
    return _UNFIT.sub("-", f"{kind}-{where}")[:_MAX]
