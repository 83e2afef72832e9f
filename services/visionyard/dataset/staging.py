"""The staging database of one import: what lies in the source and what is kept of it, in a SQLite file of the scratch folder, so that memory stays flat.

A list of a million paths takes hundreds of megabytes as Python strings; here it takes disk. The file is this process's own, goes with the scratch folder, and is
never synced: a worker that was killed begins anew.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

_PAGE_CACHE_KIB = 8192
_STEPS_A_CHECK = 1_000_000

Row = tuple[Any, ...]


class Staging:
    """An opened staging database. One thread uses it.

    Args:
        scratch: A private folder; the database's file is made in it.
        check: Called while long statements run; raises where the work is to stop.
    """

    def __init__(self, scratch: Path, check: Callable[[], None] = lambda: None) -> None:
        self._connection = sqlite3.connect(scratch / "staging.sqlite", isolation_level=None)
        self._check = check
        self._stopped: BaseException | None = None
        for pragma in (
            "journal_mode=OFF",
            "synchronous=OFF",
            "locking_mode=EXCLUSIVE",
            "temp_store=FILE",
            f"cache_size=-{_PAGE_CACHE_KIB}",
        ):
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.set_progress_handler(self._heard, _STEPS_A_CHECK)
        self._connection.execute("BEGIN")  # without a journal a transaction only saves locking

    def _heard(self) -> int:
        try:
            self._check()
        except BaseException as error:  # noqa: BLE001 - SQLite would swallow it: it is raised again where the statement was run
            self._stopped = error
            return 1
        return 0

    def run(self, statement: str, parameters: Row = ()) -> int:
        """Runs a statement that gives no rows; returns the id of the row that it added last.

        Raises:
            Exception: what ``check`` raised.
        """
        try:
            return self._connection.execute(statement, parameters).lastrowid or 0
        except sqlite3.OperationalError as error:
            raise self._stopped or error from error

    def many(self, statement: str, rows: Iterable[Row]) -> None:
        """Runs a statement once for each row of parameters; raises likewise."""
        try:
            self._connection.executemany(statement, rows)
        except sqlite3.OperationalError as error:
            raise self._stopped or error from error

    def query(self, statement: str, parameters: Row = ()) -> Iterator[Row]:
        """The rows of a query, read on the way; raises likewise."""
        try:
            for row in self._connection.execute(statement, parameters):  # noqa: UP028 - one left on the way would close its cursor, perhaps behind the database
                yield row
        except sqlite3.OperationalError as error:
            raise self._stopped or error from error

    def one(self, statement: str, parameters: Row = ()) -> Row | None:
        """The first row of a query, or None; raises likewise."""
        try:
            row: Row | None = self._connection.execute(statement, parameters).fetchone()
        except sqlite3.OperationalError as error:
            raise self._stopped or error from error
        return row

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()
