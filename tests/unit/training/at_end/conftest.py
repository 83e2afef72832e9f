"""A machine that ends, for each test a new one."""

import pytest
from ending_machine import Machine


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path / "at_end")
