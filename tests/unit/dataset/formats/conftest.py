"""What several files of tests read labellings with."""

import pytest

from visionyard.dataset.formats.detect import read_source


@pytest.fixture
def read_tasks(plant):
    """Reads Label Studio's tasks beside images; gives the source."""

    def reading(files, images=("a.jpg",)):
        files = files if isinstance(files, dict) else {"export.json": files}
        return read_source(plant({**files, **dict.fromkeys(images, b"")}), "labelstudio")

    return reading
