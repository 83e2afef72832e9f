"""A user's YAML, read as plain text values: no tags, no aliases (which expand without bound), no depth, no surprises like ``no`` becoming False."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import yaml

MAX_YAML_BYTES = 512 << 10
"""The largest file that is looked at: Open Images' 601 classes take 12 KiB."""
_MAX_DEPTH = 12
_NODES_A_CHECK = 256


class NotYaml(ValueError):
    """The text is no YAML that is read; the message says why and in which line."""


class _PlainLoader(yaml.BaseLoader):
    """BaseLoader makes strings, lists and dictionaries only."""

    def __init__(self, stream: str, check: Callable[[], None]) -> None:
        super().__init__(stream)
        self._depth = 0
        self._nodes = 0
        self._check = check

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._nodes += 1
        if self._nodes % _NODES_A_CHECK == 0:
            self._check()
        if self.check_event(yaml.AliasEvent):
            raise self._refused("it has an alias (*), which is not read")
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self._refused(f"it is nested more than {_MAX_DEPTH} deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _refused(self, why: str) -> NotYaml:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's stubs leave it out
        return NotYaml(f"{why}, in line {event.start_mark.line + 1}")


def read_yaml(text: str, check: Callable[[], None] = lambda: None) -> dict[str, Any] | None:
    """The mapping that a YAML text holds, every value a string, list or dictionary; None where it holds something else.

    Args:
        text: The file.
        check: Called again and again, since the largest file takes seconds; raises where the work is to stop.

    Raises:
        NotYaml: it is no YAML, or one that is not to be read.
    """
    if len(text) > MAX_YAML_BYTES:
        raise NotYaml(f"it has more than {MAX_YAML_BYTES} characters")
    loader: _PlainLoader | None = None
    try:
        loader = _PlainLoader(text, check)
        document = loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", in line {mark.line + 1}" if mark else ""
        raise NotYaml(f"{error.problem or error.context or 'it is damaged'}{line}") from error
    except yaml.reader.ReaderError as error:
        raise NotYaml(f"it holds a character that YAML does not allow (U+{ord(text[error.position]):04X})") from error
    except (yaml.YAMLError, RecursionError, TypeError, ValueError, OverflowError) as error:  # the last two: an escape of no character
        raise error if isinstance(error, NotYaml) else NotYaml("it is damaged") from error
    finally:
        if loader is not None:
            loader.dispose()
    return document if isinstance(document, dict) else None
