"""What the List RPCs of all services have in common: ``page_size``, ``page_token`` and ``filter`` (https://google.aip.dev/158, /160)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from visionyard.kit.filtering import Filter
from visionyard.kit.pagination import paginate

_READS_AT_MOST = 20
"""Pages that one call looks through for a filter; a long list with few matches then goes on with the next token."""

_Item = TypeVar("_Item")
_Message = TypeVar("_Message", bound=Message)


class ListRequest(Protocol):
    """A List RPC's request."""

    parent: str
    page_size: int
    page_token: str
    filter: str


async def list_page(
    request: ListRequest,
    listed: type[_Message],
    read: Callable[[int, str], tuple[list[_Item], str]],
    to_message: Callable[[_Item], _Message],
) -> tuple[list[_Message], str]:
    """Reads the page that a request asks for.

    Args:
        request: The request.
        listed: The message of which the list consists; a filter's fields are its.
        read: Reads a page of the whole list: gets its size and token, gives the items and the next page's token, empty on the last. Called in threads.
        to_message: Makes an item's message.

    Returns:
        The messages, at most ``page_size``, and the next page's token. With a filter there may be fewer, or none, though there is a next page.

    Raises:
        YardError: INVALID_FIELD, INVALID_PAGE_TOKEN (also a token that was given out for another filter), or what ``read`` raises.
    """
    if not request.filter:
        items, token = await asyncio.to_thread(read, request.page_size, request.page_token)
        return [to_message(item) for item in items], token
    wanted = Filter.parse(request.filter, listed)
    page = paginate(f"{request.parent} where {request.filter}", request.page_size, request.page_token)
    found: list[_Message] = []
    position = page.after
    for _ in range(_READS_AT_MOST):
        items, position = await asyncio.to_thread(read, page.size - len(found), position)
        found += [message for message in map(to_message, items) if wanted.matches(message)]
        # What is left to fill becomes the size of the next read, so the last places of a page would cost the most.
        if not position or 2 * len(found) > page.size:
            break
    return found, page.next_token(position) if position else ""
