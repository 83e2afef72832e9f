"""A user's YAML, read as plain text values: no tags, no aliases (which expand without bound), no depth, no surprises like ``no`` becoming False."""

from __future__ import annotations

from typing import Any

import yaml

MAX_YAML_BYTES = 512 << 10
"""The largest file that is looked at: Open Images' 601 classes take 12 KiB."""
_MAX_DEPTH = 12


class _PlainLoader(yaml.BaseLoader):
    """BaseLoader makes strings, lists and dictionaries only."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise yaml.YAMLError("nested too deeply")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def read_yaml(text: str) -> dict[str, Any] | None:
    """The mapping that a YAML text holds, every value a string, list or dictionary; None where it is none, or not to be read."""
    if len(text) > MAX_YAML_BYTES:
        return None
    try:
        document = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a BaseLoader: strings, lists and dictionaries only
    except (yaml.YAMLError, RecursionError, ValueError, TypeError):
        return None
    return document if isinstance(document, dict) else None
