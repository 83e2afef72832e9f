"""A queue's markers: which jobs wait, are held back or run, told by keys alone, so that nobody reads the documents of a thousand waiting jobs to claim one.

::

    queue/{kind}/waiting/{rank}/{project}/{id}.{turn}
    queue/{kind}/held/{the job that it waits for}/{project}/{id}.{turn}
    queue/{kind}/running/{project}/{id}.{turn}

The rank sorts higher priorities first. A job's turn grows whenever it moves from one place to another, and its document holds it: the marker of the new place is
put before the document is swapped, and that of the old place is deleted behind it. So an unfinished job always has its marker, whoever dies in between, and a
marker whose turn is not its document's is one that is left over, or not yet true.
"""

from __future__ import annotations

import enum
import heapq
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from visionyard.kit.names import ResourceName

LEAST_PRIORITY, HIGHEST_PRIORITY = -1000, 1000


class Place(enum.Enum):
    """Where an unfinished job stands in its queue."""

    WAITING = "waiting"
    """For a free slot."""
    HELD = "held"
    """For another job's end."""
    RUNNING = "running"
    """A worker has it, or is about to be taken over."""


@dataclass(frozen=True)
class Marker:
    """A marker, or what its key tells.

    Attributes:
        place: Where its job stands.
        job: The job.
        turn: The job's turn when it came there.
        priority: Of a waiting job; 0 in the other places, where it does not matter.
        waits_for: The id of the job, of the same project and kind, for whose end a held one waits; else empty.
    """

    place: Place
    job: ResourceName
    turn: int
    priority: int = 0
    waits_for: str = ""

    def key(self, kind: str) -> str:
        """Where it lies; ``kind`` is the queue's name."""
        between = {Place.WAITING: f"{HIGHEST_PRIORITY - self.priority:04d}/", Place.HELD: f"{self.waits_for}/", Place.RUNNING: ""}[
            self.place
        ]
        return f"{place_prefix(kind, self.place)}{between}{self.job.project}/{self.job.id}.{self.turn}"

    @classmethod
    def parse(cls, key: str, kind: str, collection: str) -> Marker | None:
        """Reads a key; None where it is none of a marker."""
        place, *rest = key.removeprefix(queue_prefix(kind)).split("/")
        try:
            where = Place(place)
            between = "" if where is Place.RUNNING else rest.pop(0)
            project, last = rest
            job, turn = last.rsplit(".", 1)
            name = ResourceName(project, collection, job)
            if where is Place.WAITING:
                return cls(where, name, int(turn), HIGHEST_PRIORITY - int(between))
            return cls(where, name, int(turn), waits_for=between)
        except (ValueError, IndexError):
            return None


def queue_prefix(kind: str) -> str:
    """Where a queue's markers lie, with the trailing slash."""
    return f"queue/{kind}/"


def place_prefix(kind: str, place: Place) -> str:
    """Where the markers of one place lie, with the trailing slash."""
    return f"{queue_prefix(kind)}{place.value}/"


def fair_order(waiting: Iterable[Marker], running: Mapping[str, int]) -> Iterator[Marker]:
    """The order in which waiting jobs get slots: higher priorities first; among equal ones the project of which fewest run or come before; of one project the oldest.

    Args:
        waiting: The waiting jobs.
        running: How many jobs of each project run.
    """
    by_priority: dict[int, dict[str, deque[Marker]]] = defaultdict(lambda: defaultdict(deque))
    for marker in sorted(waiting, key=lambda marker: marker.job.id, reverse=True):  # ids sort newest first
        by_priority[marker.priority][marker.job.project].append(marker)
    taken = Counter(running)
    for priority in sorted(by_priority, reverse=True):
        projects = by_priority[priority]
        # The oldest job has the highest id, and a heap gives the lowest first.
        heap = [(taken[project], _backwards(jobs[0].job.id), project) for project, jobs in projects.items()]
        heapq.heapify(heap)
        while heap:
            _, _, project = heapq.heappop(heap)
            yield projects[project].popleft()
            taken[project] += 1
            if projects[project]:
                heapq.heappush(heap, (taken[project], _backwards(projects[project][0].job.id), project))


def _backwards(text: str) -> tuple[int, ...]:
    """Sorts texts of one length the other way round."""
    return tuple(-ord(char) for char in text)
