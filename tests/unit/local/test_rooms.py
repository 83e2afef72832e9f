"""What the services of the embedded stack are given."""

import sys

import pytest

from visionyard.local import rooms
from visionyard.local.state import StateDir

PORTS = {name: 1000 + i for i, service in enumerate(rooms.SERVICES) for name in (service, f"{service}.metrics", "triton")}


@pytest.mark.parametrize("there", [True, False])
def test_datumaro_is_found_beside_the_environment_that_runs_this(monkeypatch, tmp_path, there):
    monkeypatch.delenv(rooms.DATUMARO_VARIABLE, raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    python = tmp_path / ".venv-datumaro" / "bin" / "python"
    if there:
        python.parent.mkdir(parents=True)
        python.touch()

    def given(service):
        return rooms.specification(service, StateDir(tmp_path / "state"), PORTS, {}).environment.get(rooms.DATUMARO_VARIABLE)

    assert given("dataset") == (str(python) if there else None)
    assert given("training") is None
    monkeypatch.setenv(rooms.DATUMARO_VARIABLE, "")
    assert given("dataset") is None


def test_messages_may_go_to_private_addresses_unless_the_environment_says_otherwise(monkeypatch, tmp_path):
    def given(service):
        return rooms.specification(service, StateDir(tmp_path / "state"), PORTS, {}).environment.get("VISIONYARD_NOTIFY_PRIVATE")

    monkeypatch.delenv("VISIONYARD_NOTIFY_PRIVATE", raising=False)
    assert [given(service) for service in rooms.SERVICES] == [None, "true", None, None]
    monkeypatch.setenv("VISIONYARD_NOTIFY_PRIVATE", "false")
    assert given("training") == "false"
