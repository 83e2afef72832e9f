"""Pages of filtered lists."""

import asyncio
from types import SimpleNamespace

import pytest

from visionyard.dataset.v1 import dataset_pb2
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.pagination import paginate
from visionyard.kit.server.listing import list_page


class Versions:
    """A list of versions with 0, 1, 2, ... images."""

    def __init__(self, count):
        self.count = count
        self.reads = []

    def read(self, page_size, page_token):
        page = paginate("projects/p/datasets", page_size, page_token)
        self.reads.append(page.size)
        start = int(page.after or 0)
        end = min(start + page.size, self.count)
        return list(range(start, end)), page.next_token(str(end)) if end < self.count else ""

    def page(self, where, page_size=0, page_token=""):
        request = SimpleNamespace(parent="projects/p", page_size=page_size, page_token=page_token, filter=where)
        to_message = lambda count: dataset_pb2.DatasetVersion(image_count=count)  # noqa: E731
        messages, token = asyncio.run(list_page(request, dataset_pb2.DatasetVersion, self.read, to_message))
        return [message.image_count for message in messages], token

    def pages(self, where, page_size):
        token = ""
        while True:
            found, token = self.page(where, page_size, token)
            yield found
            if not token:
                return


@pytest.mark.parametrize("where", ["", "image_count >= 100", "image_count < 3 OR image_count = 250", "image_count > 1000"])
@pytest.mark.parametrize("page_size", [1, 7, 50, 1000])
def test_all_pages_together_are_what_the_filter_lets_through(where, page_size):
    wanted = {
        "": list(range(300)),
        "image_count >= 100": list(range(100, 300)),
        "image_count < 3 OR image_count = 250": [0, 1, 2, 250],
        "image_count > 1000": [],
    }[where]
    pages = list(Versions(300).pages(where, page_size))
    assert [count for page in pages for count in page] == wanted
    assert max(map(len, pages)) <= page_size


def test_a_page_is_filled_over_several_reads():
    versions = Versions(300)
    found, token = versions.page("image_count > 120", 50)
    assert found == list(range(121, 150))
    assert token
    assert versions.reads == [50, 50, 50]


def test_a_call_looks_through_so_much_only():
    versions = Versions(10_000)
    found, token = versions.page("image_count = 9999", 10)
    assert (found, len(versions.reads)) == ([], 20)
    assert token


def test_a_token_goes_with_its_filter():
    versions = Versions(300)
    _, token = versions.page("image_count >= 0", 10)
    _, unfiltered = versions.page("", 10)
    for where, other in (("image_count >= 1", token), ("", token), ("image_count >= 0", unfiltered)):
        with pytest.raises(YardError) as refused:
            versions.page(where, 10, other)
        assert refused.value.reason is Reason.INVALID_PAGE_TOKEN


def test_a_bad_size_is_refused_with_a_filter_too():
    with pytest.raises(YardError) as refused:
        Versions(1).page("image_count >= 0", -1)
    assert refused.value.reason is Reason.INVALID_FIELD
