"""Reading what another build of the service wrote: builds share a bucket while one takes over from the other, and none may cost the other its measurements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Made = TypeVar("Made", bound="DataclassInstance")


def of_document(kind: type[Made], document: Mapping[str, Any]) -> Made:
    """A dataclass of a document by its names; what a newer build keeps there besides is left out, as Protocol Buffers do.

    Raises:
        TypeError: a name without a default is missing.
    """
    names = {field.name for field in fields(kind)}
    return kind(**{name: value for name, value in document.items() if name in names})
