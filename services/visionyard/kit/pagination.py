"""Pages of lists, after Google's AIP-158: opaque tokens that hold the position and fit only the list they were made for."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass

from visionyard.kit.errors import Reason, YardError, invalid_field

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000
_DIGEST_BYTES = 12
_MAX_POSITION_BYTES = 512
_MAX_NUMBER_DIGITS = 8


def _digest(parent: str, position: bytes) -> bytes:
    return hashlib.sha256(parent.encode() + b"\0" + position).digest()[:_DIGEST_BYTES]


@dataclass(frozen=True)
class Page:
    """What page was asked for.

    Attributes:
        parent: The list: ``projects/default/importJobs``.
        size: At most so many entries, 1 to 1000.
        after: The position (an id or key) after which the page begins; empty for the first page.
    """

    parent: str
    size: int
    after: str

    @property
    def after_number(self) -> int | None:
        """``after`` in a list of numbers, such as a version's; None for the first page.

        Raises:
            YardError: INVALID_PAGE_TOKEN: it is none. Anybody can make a token up: the digest only tells one list's from another's.
        """
        if not self.after:
            return None
        if not (self.after.isascii() and self.after.isdigit() and len(self.after) <= _MAX_NUMBER_DIGITS):
            raise _refusal(self.parent)
        return int(self.after)

    def next_token(self, last: str) -> str:
        """The token of the page after this one.

        Args:
            last: The position of this page's last entry. Call it only where there are more.
        """
        position = last.encode()
        return base64.urlsafe_b64encode(_digest(self.parent, position) + position).decode().rstrip("=")


def paginate(parent: str, page_size: int, page_token: str) -> Page:
    """Reads a list request's ``page_size`` (0 means 50, above 1000 means 1000) and ``page_token``.

    Args:
        parent: What is listed; a token of another list does not fit. Put a filter into it where there is one.
        page_size: As the request has it.
        page_token: As the request has it.

    Raises:
        YardError: INVALID_FIELD for a negative size, INVALID_PAGE_TOKEN for a token that this list did not give out.
    """
    if page_size < 0:
        raise invalid_field("page_size", f"must be 0 or more, but is {page_size}")
    size = min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    return Page(parent, size, _position(parent, page_token) if page_token else "")


def _refusal(parent: str) -> YardError:
    return YardError(
        Reason.INVALID_PAGE_TOKEN,
        f"the page token is not one that the list {parent} gave out: use next_page_token of the page before as it is, or none to begin anew",
    )


def _position(parent: str, token: str) -> str:
    refusal = _refusal(parent)
    if len(token) > 2 * _MAX_POSITION_BYTES or not token.isascii():
        raise refusal
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        digest, position = raw[:_DIGEST_BYTES], raw[_DIGEST_BYTES:]
        text = position.decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise refusal from error
    if not text or digest != _digest(parent, position):
        raise refusal
    return text
