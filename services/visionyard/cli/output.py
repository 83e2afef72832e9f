"""What goes to stdout: protobuf JSON for programs; lines and tables for people, cut and coloured only on a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from typing import Any, cast

from google.protobuf import json_format, timestamp_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP = 1024
_GAP = "  "


def message_json(message: Message) -> dict[str, Any]:
    """A message as a JSON object: the protos' own field names, defaults included, in the protos' order; maps by key, so that equal messages are equal texts."""
    document = json_format.MessageToDict(message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return cast("dict[str, Any]", _in_order(cast("Descriptor", message.DESCRIPTOR), document))


def _in_order(kind: Descriptor, value: Any) -> Any:
    """What MessageToDict made of a message of that kind (for well-known types that may be anything), in order."""
    if not isinstance(value, dict) or kind.full_name.startswith("google.protobuf."):
        return _by_key(value)
    return {field.name: _field_in_order(field, value[field.name]) for field in kind.fields if field.name in value}


def _field_in_order(field: FieldDescriptor, value: Any) -> Any:
    kind = field.message_type
    if kind is None:
        return value
    if kind.GetOptions().map_entry:
        return {key: _field_in_order(kind.fields_by_name["value"], value[key]) for key in sorted(value)}
    return [_in_order(kind, item) for item in value] if field.is_repeated and isinstance(value, list) else _in_order(kind, value)


def _by_key(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _by_key(value[key]) for key in sorted(value)}
    return [_by_key(item) for item in value] if isinstance(value, list) else value


def write(text: str) -> None:
    """A line to stdout."""
    sys.stdout.write(f"{text}\n")


def write_json(document: Mapping[str, Any], *, line: bool = False) -> None:
    """A document to stdout; indented on a terminal unless it is one ``line`` of many."""
    indent = 2 if sys.stdout.isatty() and not line else None
    write(dump_json(document, indent))
    sys.stdout.flush()


def dump_json(document: Mapping[str, Any], indent: int | None = None) -> str:
    """JSON text in UTF-8, or in ASCII where it holds the bytes of a file name that is none."""
    text = json.dumps(document, ensure_ascii=False, indent=indent)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(document, indent=indent)
    return text


def plain(value: object) -> str:
    """A text from a stranger, with control characters made visible: a file's name must not drive the terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in str(value))


def fields(rows: Iterable[tuple[str, object]]) -> None:
    """Names and values, one a line; empty values are left out."""
    shown = [(name, plain(value)) for name, value in rows if value not in ("", None)]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        write(f"{name.ljust(width)}{_GAP}{value}")


def table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, right: frozenset[int] = frozenset(), empty: str = "none") -> None:
    """A table: fitted to a terminal, or aligned columns with nothing shortened where there is none.

    Args:
        headers: A title a column.
        rows: The cells.
        right: The columns that are aligned to the right.
        empty: What is written instead of a table without rows.
    """
    cells = [[plain(cell) for cell in row] for row in rows]
    if not cells:
        write(empty)
    elif sys.stdout.isatty():
        _terminal_table(headers, cells, right)
    else:
        widths = [max(len(row[i]) for row in [list(headers), *cells]) for i in range(len(headers))]
        for row in [list(headers), *cells]:
            line = (cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
            write(_GAP.join(line).rstrip())


def _terminal_table(headers: Sequence[str], rows: Sequence[Sequence[str]], right: frozenset[int]) -> None:
    from rich import box  # noqa: PLC0415 - a command that prints no table on a terminal does not load it
    from rich.console import Console  # noqa: PLC0415 - likewise
    from rich.table import Table  # noqa: PLC0415 - likewise
    from rich.text import Text  # noqa: PLC0415 - likewise

    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, header in enumerate(headers):
        shown.add_column(header, justify="right" if i in right else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(cell) for cell in row))
    Console(file=sys.stdout).print(shown)


def size(count: int) -> str:
    """Bytes for people: ``12.3 MiB``."""
    value = float(count)
    for unit in _UNITS:
        if value < _STEP or unit == _UNITS[-1]:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= _STEP
    raise AssertionError


def time(value: timestamp_pb2.Timestamp) -> str:
    """A moment in local time; empty where it is not set."""
    return value.ToDatetime(tzinfo=UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S") if value.seconds else ""


def enum_word(name: str, prefix: str) -> str:
    """An enum value's name for people: JOB_STATE_RUNNING as ``running``."""
    return name.removeprefix(prefix).lower()
