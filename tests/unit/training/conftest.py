"""The installed Ultralytics' own table of arguments, asked once."""

from __future__ import annotations

import pytest

from visionyard.training.arguments import ArgumentTable
from visionyard.training.ultralytics_facts import UltralyticsFacts


@pytest.fixture(scope="session")
def table() -> ArgumentTable:
    return UltralyticsFacts().table()
