"""Workers of the jobs' tests find the store and their module."""

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def worker_environment(seaweed_settings, monkeypatch, tmp_path):
    """What the workers find in their environment: the store, and this folder to find their module in."""
    for name, value in seaweed_settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VISIONYARD_HEARTBEAT_S", "0.5")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *sys.path]))
    return tmp_path
