import importlib.util
import sys
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("faulty", Path(__file__).with_name("faulty.py"))
faulty_module = sys.modules["faulty"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(faulty_module)


@pytest.fixture
def server():
    with faulty_module.faulty() as found:
        yield found
