"""Fetches sources for tests, with limits that are soon reached."""

import os
from contextlib import contextmanager

import pytest
from tests.unit.dataset.conftest import zipped

from visionyard.dataset.archives.entry import ArchiveLimits
from visionyard.dataset.fetching.addresses import AllowList
from visionyard.dataset.fetching.patience import FetchLimits
from visionyard.dataset.fetching.sources import AllowedSources
from visionyard.kit.errors import YardError

FILES = {f"images/{i}.jpg": os.urandom(40_000) for i in range(20)} | {"labels/1.txt": b"0 .5 .5 .1 .1\n"}
DATA = zipped(FILES)
QUICK = FetchLimits(patience_s=0.6, window_s=0.3, first_wait_s=0.01, longest_wait_s=0.05, reserve_bytes=0, restarts=3)


class Stop(Exception):
    pass


class Fetcher:
    """Fetches into a folder and reads the archive."""

    def __init__(self, folder, access):
        self.folder = folder
        self.access = access
        self.limits = QUICK
        self.allow = "http://127.0.0.1 https://127.0.0.1"
        self.private = ""
        self.steps = []
        self.stops = lambda: None

    @contextmanager
    def opened(self, url, archive_limits=None):
        sources = AllowedSources(AllowList.parse(self.allow, self.private), self.access, self.limits)
        with sources.open(url, self.folder, archive_limits or ArchiveLimits(), self.stops, lambda *step: self.steps.append(step)) as got:
            yield got
        assert list(self.folder.iterdir()) == []

    def read(self, url):
        with self.opened(url) as (archive, fetched):
            return {entry.path: data for entry, data in archive.read(lambda _: True)}, fetched

    def good(self, url):
        files, fetched = self.read(url)
        assert files == FILES
        return fetched

    def refused(self, url):
        with pytest.raises(YardError) as caught, self.opened(url):
            pass
        assert list(self.folder.iterdir()) == []
        assert url.partition("?")[0] in caught.value.message
        return caught.value


def redirect(to, status=302):
    return lambda request: request.head(status, Location=to, Content_Length=0)
