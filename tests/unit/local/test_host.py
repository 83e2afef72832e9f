"""What a machine must have for the embedded stack."""

import ctypes
import platform
import subprocess
import sys

import pytest

from visionyard.local import host, triton


def test_this_machine_is_fit_and_the_file_runs_by_itself():
    assert host.problems() == []
    assert subprocess.run([sys.executable, "-I", host.__file__], check=False).returncode == 0


@pytest.mark.parametrize(
    ("system", "machine", "libc", "said"),
    [
        ("Darwin", "arm64", ("", ""), "not on arm64 Darwin"),
        ("Linux", "aarch64", ("glibc", "2.36"), "not on aarch64 Linux"),
        ("Linux", "x86_64", ("glibc", "2.31"), "this is glibc 2.31"),
        ("Linux", "x86_64", ("", ""), "this is another libc"),
    ],
)
def test_what_is_in_the_way_is_said(monkeypatch, system, machine, libc, said):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    (sentence,) = host.problems()
    assert said in sentence


def test_a_python_without_its_library_is_named(monkeypatch, capsys):
    def missing(name):
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert host.main() == 1
    said = capsys.readouterr().err
    assert f"apt-get install libpython{sys.version_info[0]}.{sys.version_info[1]}" in said


def test_the_stack_is_not_started_there(monkeypatch, tmp_path):
    script = tmp_path / "host.py"
    script.write_text("import sys; sys.exit('no libpython here')")
    monkeypatch.setattr(host, "__file__", str(script))
    with pytest.raises(triton.TritonMissing, match="no libpython here"):
        triton.find_triton()
