"""Everybody reads the project ``shared``; only an administrator writes into it, and until there are roles that is whoever sits on the service's own machine.

A method is taken for a writing one unless its name says that it reads, so that a new method is guarded before anybody thinks of it. What it writes to follows from the AIPs' habits: a
``parent`` that gets something, or the ``name`` of what is changed. Behind a proxy on the same machine every caller seems to sit there: let such a proxy refuse strangers itself.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import reduce
from typing import Any
from urllib.parse import unquote

from google.protobuf.message import Message

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import SHARED_PROJECT
from visionyard.kit.server.interceptors.chain import Call, Layer, Tap

READING = (
    "Get",
    "List",
    "Watch",
    "Read",
    "Download",
    "Diff",
    "Preview",
    "Render",
    "Predict",
    "BatchPredict",
    "Check",
    "ConfirmDownload",
    "Estimate",
    "ExportMachines",
    "ServerReflectionInfo",
)
"""What the names of methods begin with that change nothing in the bucket."""
_ALSO_WRITTEN = {"CreateExportJob": ("export_job", "spec", "model_version")}
"""Where the work behind a method writes besides: an artifact lies with its model."""
_ROOT = f"projects/{SHARED_PROJECT}"


class SharedProject(Layer):
    """The shared project's layer."""

    @asynccontextmanager
    async def around(self, call: Call) -> AsyncIterator[Tap]:
        """See Layer."""
        reads = call.method.name.startswith(READING)
        yield Tap() if reads or is_local(call.context.peer()) else _Guard(call.method.name)


class _Guard(Tap):
    """Looks at each message of a writing call from elsewhere."""

    def __init__(self, method: str) -> None:
        self._method = method

    def received(self, message: Any) -> None:
        """Raises YardError (SHARED_READ_ONLY) for what would write into the shared project."""
        if not isinstance(message, Message):
            return
        for name in written_names(self._method, message):
            if name == _ROOT or name.startswith(f"{_ROOT}/"):
                raise YardError(
                    Reason.SHARED_READ_ONLY,
                    f"{name[:200]} belongs to the project 'shared', which everybody reads and only an administrator writes, on the machine of the service: "
                    "ask there, or work in a project of your own",
                    {"name": name[:200]},
                )


def written_names(method: str, request: Message) -> Iterator[str]:
    """The resource names that a writing method's request says it writes to or below."""
    fields = request.DESCRIPTOR.fields_by_name
    own = [str(getattr(request, field)) for field in ("parent", "name") if field in fields]
    yield from own
    if not own:  # an update: the resource itself stands in the request
        for field, value in request.ListFields():
            if field.message_type is not None and "name" in field.message_type.fields_by_name:
                yield str(value.name)
    if method in _ALSO_WRITTEN:
        yield str(reduce(getattr, _ALSO_WRITTEN[method], request))


def is_local(peer: str) -> bool:
    """Whether a gRPC peer (``ipv4:127.0.0.1:4711``, ``ipv6:[::1]:4711``, ``unix:...``) sits on this machine.

    See https://grpc.github.io/grpc/core/md_doc_naming.html for the forms.
    """
    kind, _, address = unquote(peer).partition(":")
    if kind == "unix":
        return True
    host = address.rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return (mapped or ip).is_loopback
