"""A stack of its own for the tests of this folder."""

import pytest
from embedded import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    made = Stack(tmp_path_factory.mktemp("stack") / "home")
    try:
        yield made
    finally:
        made.down()
        assert made.living() == []
