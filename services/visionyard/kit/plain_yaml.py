"""YAML from strangers: a mapping of plain values, read in bounded time and memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

_MAX_EVENTS = 50_000
_MAX_DEPTH = 16


def parse_plain_yaml(text: str, most_bytes: int, refused: Callable[[str, str], Exception]) -> dict[str, Any]:
    """A YAML mapping without anchors, tags or depth.

    Args:
        text: The YAML's text.
        most_bytes: How long it may be in UTF-8.
        refused: Makes the error that is raised, of where and what: ``("line 3", "holds a tag")``.

    Raises:
        Exception: what ``refused`` made.
    """
    if len(text.encode()) > most_bytes:
        raise refused("the text", f"is longer than {most_bytes} bytes")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    try:
        for count, event in enumerate(yaml.parse(text, Loader=loader)):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise refused(_line(event.start_mark), "holds an anchor or an alias")
            if isinstance(event, yaml.NodeEvent) and getattr(event, "tag", None):
                raise refused(_line(event.start_mark), "holds a tag")
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > _MAX_DEPTH or count > _MAX_EVENTS:
                raise refused("the text", "is nested too deeply or holds too many values")
        document = yaml.load(text, Loader=loader)  # noqa: S506 - a safe loader, the C one where there is one
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise refused(_line(getattr(error, "problem_mark", None)), "is not YAML") from None
    if not isinstance(document, dict):
        raise refused("the text", "is no mapping of names to values")
    return document


def _line(mark: Any) -> str:
    return "the text" if mark is None else f"line {mark.line + 1}"
