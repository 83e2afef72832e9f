"""Where the weight files lie that Ultralytics publishes. Nothing is fetched here: the service has no business in the internet, its client may have."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.web.urls import Url
from visionyard.training.arguments import ArgumentTable

_YOLOV5 = re.compile(r"(yolov5[nsmlx]6?)\.pt\Z")
_LONGEST_NAME = 100


def check_mirror(text: str) -> str:
    """Refuses a setting that is no address to fetch from.

    Raises:
        ValueError: it is none.
    """
    if text:
        try:
            url = Url.parse(text)
        except ValueError as error:
            raise ValueError(f"the address {error}") from None
        if url.query:
            raise ValueError("takes an address of the form https://host/path, below which the files lie by their names")
    return text


class OfficialWeights:
    """Finds published weight files by name.

    Args:
        table: Gives what the installed Ultralytics says of them.
        mirror: The address below which they lie, in place of Ultralytics' release; empty for that.
    """

    def __init__(self, table: Callable[[], ArgumentTable], mirror: str = "") -> None:
        self._table = table
        self._mirror = mirror.rstrip("/")

    def locate(self, name: str) -> str:
        """The address of a file. Blocks.

        Raises:
            YardError: FILE_NOT_FOUND, Ultralytics publishes none of that name; the nearest are named. WEIGHTS_UNREADABLE, weights of the original YOLOv5.
        """
        table, shown = self._table(), name[:_LONGEST_NAME]
        if original := _YOLOV5.match(name):
            raise YardError(
                Reason.WEIGHTS_UNREADABLE,
                f"{shown} holds weights of the original YOLOv5 repository, which Ultralytics cannot load: fetch the converted ones, {original[1]}u.pt",
                {"file": shown},
            )
        if name not in table.weights:
            near = difflib.get_close_matches(shown if shown.endswith(".pt") else f"{shown}.pt", table.weights, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "names are such as yolo11n.pt, yolo26s-seg.pt or rtdetr-l.pt"
            raise YardError(
                Reason.FILE_NOT_FOUND,
                f"Ultralytics {table.version} publishes no weights called {shown!r} for the tasks that are handled here: {hint}",
                {"path": shown},
            )
        return f"{self._mirror or table.weights_url}/{name}"
