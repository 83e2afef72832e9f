"""Which machine a process runs on."""

import subprocess
import sys

from visionyard.kit.host import host_id, is_host_id


def test_all_processes_of_a_machine_say_the_same():
    other = subprocess.run(
        [sys.executable, "-c", "from visionyard.kit.host import host_id; print(host_id())"], capture_output=True, text=True, check=True
    )
    assert other.stdout.strip() == host_id()
    assert is_host_id(host_id())


def test_another_boot_or_machine_is_another(tmp_path):
    for number in range(2):
        (tmp_path / str(number)).write_text(f"{number}\n")
    told = {host_id(), host_id(tmp_path / "0"), host_id(tmp_path / "1"), host_id(tmp_path / "none")}
    assert len(told) == 4
    assert all(map(is_host_id, told))


def test_what_strangers_send_is_looked_at():
    for value in (None, b"0" * 16, "", "0" * 15, "0" * 17, "G" * 16, "0" * 16 + "\n"):
        assert not is_host_id(value)
