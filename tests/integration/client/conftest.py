import pytest
from faulty import faulty


@pytest.fixture
def server():
    with faulty() as found:
        yield found
