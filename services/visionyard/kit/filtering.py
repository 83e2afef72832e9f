"""The filters of list requests, after Google's AIP-160 (https://google.aip.dev/160), on the messages that the list answers with.

``status.state = JOB_STATE_FAILED AND create_time > "2026-11-01T00:00:00Z"``, ``metrics."metrics/mAP50(B)" >= 0.9``, ``classes.name:person``.
AND binds more loosely than OR, as the AIP has it; terms side by side are joined by AND.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, cast

import lark
from google.protobuf import duration_pb2, timestamp_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from visionyard.kit.errors import YardError, invalid_field

MAX_FILTER_CHARS = 2_000
MAX_PARENTHESES = 32
"""How often a filter may open one; what is nested is evaluated recursively."""

_GRAMMAR = r"""
start: conjunction?
conjunction: disjunction (_AND? disjunction)*
disjunction: _term (_OR _term)*
_term: negation | comparison | "(" conjunction ")"
negation: (_NOT | "-") (comparison | "(" conjunction ")")
comparison: path OPERATOR value
path: FIELD ("." (FIELD | STRING))*
value: STRING | WORD

_AND.2: /AND(?=[\s(])/
_OR.2: /OR(?=[\s(])/
_NOT.2: /NOT(?=[\s(])/
OPERATOR: "!=" | "<=" | ">=" | "=" | "<" | ">" | ":"
FIELD: /[A-Za-z_][A-Za-z0-9_]*/
STRING: /"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'/
WORD: /[^\s()"'=<>!,]+/
%ignore /\s+/
"""
_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32,
    FieldDescriptor.CPPTYPE_INT64,
    FieldDescriptor.CPPTYPE_UINT32,
    FieldDescriptor.CPPTYPE_UINT64,
}
_NUMBERS = {*_INTEGERS, FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}
_TIMES: dict[str, type[timestamp_pb2.Timestamp | duration_pb2.Duration]] = {
    "google.protobuf.Timestamp": timestamp_pb2.Timestamp,
    "google.protobuf.Duration": duration_pb2.Duration,
}
_Test = Callable[[Any], bool]


def _refused(what: str) -> YardError:
    return invalid_field("filter", f'{what}; filters look like: status.state = JOB_STATE_FAILED AND create_time > "2026-11-01T00:00:00Z"')


@dataclass(frozen=True)
class _Path:
    """The way from a message to the values that are compared.

    Attributes:
        text: As it was written.
        fields: Field after field.
        key: The key of the last field, a map; None where there is none.
    """

    text: str
    fields: tuple[FieldDescriptor, ...]
    key: str | None = None

    @property
    def leaf(self) -> FieldDescriptor:
        """The field whose values are compared."""
        last = self.fields[-1]
        if self.key is None or last.message_type is None:
            return last
        return last.message_type.fields_by_name["value"]

    @property
    def repeated(self) -> bool:
        """Whether one message may hold several values."""
        return any(field.is_repeated for field in (self.fields[:-1] if self.key is not None else self.fields))

    def values(self, message: Message) -> Iterator[Any]:
        """The values that the message holds; those of messages that are not set are left out."""
        found: list[Any] = [message]
        for field in self.fields:
            found = [value for holder in found for value in _children(holder, field)]
        for value in found:
            if self.key is None:
                yield value
            elif self.key in value:
                yield value[self.key]


def _children(holder: Message, field: FieldDescriptor) -> Iterator[Any]:
    value = getattr(holder, field.name)
    if field.is_repeated and not _is_map(field):
        yield from value
    elif _is_map(field) or not field.has_presence or holder.HasField(field.name):
        yield value


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


@dataclass(frozen=True)
class Filter:
    """Which messages a list request wants.

    Attributes:
        matches: Tells it of one.
    """

    matches: Callable[[Message], bool]

    @classmethod
    def parse(cls, text: str, listed: type[Message]) -> Filter:
        """Reads a filter.

        Args:
            text: As the request has it, at most 2,000 characters; empty lets everything through.
            listed: The message of which the list consists.

        Raises:
            YardError: INVALID_FIELD: no filter, a field that the messages do not have, a value or an operator that does not fit the field.
        """
        if len(text) > MAX_FILTER_CHARS or text.count("(") > MAX_PARENTHESES:
            raise _refused(f"is too long: at most {MAX_FILTER_CHARS} characters and {MAX_PARENTHESES} parentheses are read")
        try:
            tree = _parser().parse(text)
        except lark.exceptions.UnexpectedInput as error:
            ended = isinstance(error, lark.exceptions.UnexpectedToken) and error.token.type == "$END"
            where = "at its end" if ended else f"at character {error.column}"
            raise _refused(f"cannot be read {where}") from error
        try:
            # typeshed also knows the descriptors of protobuf's C library, which are these.
            return cls(_Compiler(cast("Descriptor", listed.DESCRIPTOR)).transform(tree))
        except lark.exceptions.VisitError as error:
            raise error.orig_exc from None


@cache
def _parser() -> lark.Lark:
    return lark.Lark(_GRAMMAR, parser="lalr")


class _Compiler(lark.Transformer[lark.Token, _Test]):
    """Makes a test of messages out of a filter's tree."""

    def __init__(self, listed: Descriptor) -> None:
        super().__init__()
        self._listed = listed

    def start(self, tests: list[_Test]) -> _Test:
        """The whole."""
        return tests[0] if tests else lambda _message: True

    def conjunction(self, tests: list[_Test]) -> _Test:
        """All of them."""
        return tests[0] if len(tests) == 1 else lambda message: all(test(message) for test in tests)

    def disjunction(self, tests: list[_Test]) -> _Test:
        """One of them at least."""
        return tests[0] if len(tests) == 1 else lambda message: any(test(message) for test in tests)

    def negation(self, tests: list[_Test]) -> _Test:
        """Not so."""
        (test,) = tests
        return lambda message: not test(message)

    def value(self, tokens: list[lark.Token]) -> lark.Token:
        """Text, without its quotes."""
        return _unquoted(tokens[0])

    def path(self, names: list[lark.Token]) -> _Path:
        """Looks the fields up."""
        text = ".".join(names)
        fields: list[FieldDescriptor] = []
        scope: Descriptor | None = self._listed
        for i, name in enumerate(names):
            if fields and _is_map(fields[-1]) and i == len(names) - 1:
                return _Path(text, tuple(fields), str(_unquoted(name)))
            field = scope.fields_by_name.get(name) if scope is not None else None
            if field is None:
                known = ", ".join(f.name for f in scope.fields) if scope is not None else "none below it"
                raise _refused(f"{text!r} is no field of {self._listed.name}; the fields there are: {known}")
            fields.append(field)
            scope = field.message_type if not _is_map(field) and _may_be_entered(field) else None
        return _Path(text, tuple(fields))

    def comparison(self, parts: list[Any]) -> _Test:
        """One field and one value."""
        path, sign, value = parts
        if sign == ":" and value.type == "WORD" and value == "*":
            return lambda message: any(_is_set(found) for found in path.values(message))
        if sign != ":" and (path.repeated or _is_map(path.leaf)):
            raise _refused(f"{path.text!r} may hold several values: ask with ':', as in {path.text}:{value}")
        test = _fits(path, str(sign), str(value))
        return lambda message: any(test(found) for found in path.values(message))


def _unquoted(token: lark.Token) -> lark.Token:
    if token.type != "STRING":
        return token
    return lark.Token("STRING", re.sub(r"\\(.)", r"\1", token[1:-1]))


def _may_be_entered(field: FieldDescriptor) -> bool:
    return field.message_type is not None and not field.message_type.full_name.startswith("google.protobuf.")


def _is_set(value: object) -> bool:
    return isinstance(value, Message) or bool(value)


def _fits(path: _Path, sign: str, text: str) -> _Test:
    """The test of one value.

    Raises:
        YardError: INVALID_FIELD.
    """
    leaf = path.leaf
    if _is_map(leaf):
        return lambda value: text in value
    if leaf.cpp_type == FieldDescriptor.CPPTYPE_STRING and leaf.type != FieldDescriptor.TYPE_BYTES:
        return _string_test(sign, text, repeated=path.repeated)
    wanted, ordered = _read_value(path, text)
    if sign not in {"=", "!=", ":"} and not ordered:
        raise _refused(f"{path.text!r} has no order: ask with =, != or :")
    compare = _ORDER["=" if sign == ":" else sign]
    if leaf.message_type is not None:
        return lambda value: compare(_nanoseconds(value), wanted)
    return lambda value: compare(value, wanted)


def _string_test(sign: str, text: str, *, repeated: bool) -> _Test:
    """``=`` takes ``*`` at either end for anything; ``:`` asks whether a text contains another, or a list of texts one of them."""
    pattern = text.replace("[", "[[]").replace("?", "[?]")
    if sign == ":" and not repeated:
        return lambda value: text in value
    if sign in {"=", ":"}:
        return lambda value: fnmatchcase(value, pattern)
    if sign == "!=":
        return lambda value: not fnmatchcase(value, pattern)
    compare = _ORDER[sign]
    return lambda value: compare(value, text)


def _read_value(path: _Path, text: str) -> tuple[Any, bool]:
    """The value in the field's type, and whether its values have an order."""
    leaf = path.leaf
    try:
        if leaf.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
            return {"true": True, "false": False}[text], False
        if leaf.enum_type is not None:
            return leaf.enum_type.values_by_name[text].number, False
        if leaf.cpp_type in _NUMBERS:
            return (int(text) if leaf.cpp_type in _INTEGERS else float(text)), True
        if leaf.message_type is not None and leaf.message_type.full_name in _TIMES:
            time = _TIMES[leaf.message_type.full_name]()
            time.FromJsonString(text)
            return _nanoseconds(time), True
    except (KeyError, ValueError) as error:
        raise _refused(f"{text!r} is no value of {path.text!r}: {_expected(leaf)}") from error
    raise _refused(f"{path.text!r} cannot be compared; {path.text}:* asks whether it is set")


def _expected(leaf: FieldDescriptor) -> str:
    if leaf.enum_type is not None:
        return "one of " + ", ".join(leaf.enum_type.values_by_name)
    if leaf.message_type is not None:
        return 'a time is written "2026-11-01T00:00:00Z", a duration 20s'
    return "true or false" if leaf.cpp_type == FieldDescriptor.CPPTYPE_BOOL else "a number"


def _nanoseconds(time: Any) -> int:
    return int(time.seconds) * 1_000_000_000 + int(time.nanos)
