"""How many cores a container was given."""

import os

import pytest

from visionyard.kit import cpus


@pytest.mark.parametrize(
    ("quota", "cores", "expected"),
    [("max 100000", 8, 8), ("250000 100000", 8, 2), ("1200000 100000", 8, 8), ("10000 100000", 8, 1), ("nonsense", 8, 8), (None, 3, 3)],
)
def test_the_quota_counts(monkeypatch, tmp_path, quota, cores, expected):
    file = tmp_path / "cpu.max"
    if quota is not None:
        file.write_text(quota)
    monkeypatch.setattr(cpus, "_CGROUP_CPU", file)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)))
    assert cpus.usable_cpus() == expected
