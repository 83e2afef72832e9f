"""How long a source may fail: it has to bring bytes at a bearable pace, if not without breaks."""

from __future__ import annotations

import time
from dataclasses import dataclass

from visionyard.dataset.fetching.addresses import SourceUrl, unreachable
from visionyard.dataset.fetching.port import Check, SourceBroken

_SLICE_S = 0.2


@dataclass(frozen=True)
class FetchLimits:
    """How much a source may ask of this machine.

    Attributes:
        file_bytes: The largest file.
        total_s: The longest that a file may take, in seconds.
        patience_s: How long it may bring less than ``pace_bytes_s`` before it is given up, in seconds.
        contact_s: The same where it has not brought a byte yet, as with an address that is wrong; in seconds, at most ``patience_s``.
        pace_bytes_s: The least pace, in bytes a second.
        window_s: How long a single connection may stay below that pace, in seconds.
        reserve_bytes: What stays free on the disk.
        restarts: How often a file may begin anew because its source could not go on where it broke off, or had another one.
        first_wait_s: Before the first attempt to go on; doubled each time up to ``longest_wait_s``, in seconds.
        longest_wait_s: In seconds.
    """

    file_bytes: int = 1 << 40
    total_s: float = 6 * 3600.0
    patience_s: float = 300.0
    contact_s: float = 30.0
    pace_bytes_s: int = 1024
    window_s: float = 30.0
    reserve_bytes: int = 1 << 30
    restarts: int = 10
    first_wait_s: float = 0.2
    longest_wait_s: float = 10.0


class Patience:
    """Waits between attempts, until there is no point.

    Args:
        url: The source.
        limits: How long.
        check: Called often; raises where the work is to stop.
        known: Whether the source has answered already.
    """

    def __init__(self, url: SourceUrl, limits: FetchLimits, check: Check, *, known: bool = False) -> None:
        self._url = url
        self._limits = limits
        self._check = check
        self._known = known
        self._began = self._marked = time.monotonic()
        self._bytes_at_mark = 0
        self._wait_s = limits.first_wait_s

    def keep_to_time(self) -> None:
        """Stops what takes longer than it may in all.

        Raises:
            YardError: SOURCE_UNREACHABLE.
        """
        if time.monotonic() - self._began > self._limits.total_s:
            raise unreachable(
                self._url,
                f"took longer than {self._limits.total_s:g} s (VISIONYARD_IMPORT_FETCH_LIMIT_S): import it in parts, or try again",
            )

    def failed(self, error: SourceBroken, reached: int) -> None:
        """Waits after a failure.

        Args:
            error: The failure.
            reached: The most bytes that were ever there.

        Raises:
            YardError: SOURCE_UNREACHABLE, it has failed for too long; or what ``check`` raises.
        """
        now = time.monotonic()
        gained = reached - self._bytes_at_mark
        known = self._known or reached > 0
        patience_s = self._limits.patience_s if known else min(self._limits.contact_s, self._limits.patience_s)
        if gained and gained >= self._limits.pace_bytes_s * (now - self._marked):
            self._marked, self._bytes_at_mark, self._wait_s = now, reached, self._limits.first_wait_s
        elif now - self._marked > patience_s:
            raise unreachable(self._url, f"{error}; it was tried for {now - self._marked:.0f} s: try again later") from error
        self.keep_to_time()
        end = now + self._wait_s
        while (left := end - time.monotonic()) > 0:
            self._check()
            time.sleep(min(_SLICE_S, left))
        self._check()
        self._wait_s = min(self._wait_s * 2, self._limits.longest_wait_s)


def too_slow(limits: FetchLimits) -> SourceBroken:
    """A connection that brings next to nothing."""
    return SourceBroken(f"sends less than {limits.pace_bytes_s} bytes a second")
