"""Files written by a tar process: what is in them, and what is told when they cannot be written."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from visionyard.kit.file_writer import FileWriter


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_are_written_as_they_were_given(tmp_path):
    files = {f"images/train/{n}.jpg": os.urandom(n * 37 % 5000) for n in range(1200)}
    files |= {
        "labels/empty.txt": b"",
        "large.bin": os.urandom(3 << 20),
        f"{'long/' * 40}x": b"1",
        "räksmörgås 猫 -x.txt": b"2",
        "-rf": b"3",
        "a\nb": b"4",
    }
    with FileWriter(tmp_path / "made" / "here") as writer:
        for path, data in files.items():
            writer.add(path, data)
    assert tree(tmp_path / "made" / "here") == files


def test_a_file_that_is_there_is_replaced_and_not_what_a_link_points_to(tmp_path):
    outside = tmp_path / "outside"
    outside.write_bytes(b"keep")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to(outside)
    (folder / "file").write_bytes(b"a longer one")
    with FileWriter(folder) as writer:
        writer.add("link", b"new")
        writer.add("file", b"new")
    assert tree(folder) == {"link": b"new", "file": b"new"}
    assert outside.read_bytes() == b"keep"


def test_what_was_added_is_written_also_where_the_block_fails(tmp_path):
    def stopped():
        with FileWriter(tmp_path) as writer:
            writer.add("a", b"1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert tree(tmp_path) == {"a": b"1"}


def test_options_of_the_environment_have_no_say(tmp_path, monkeypatch):
    monkeypatch.setenv("TAR_OPTIONS", "--exclude=a")
    with FileWriter(tmp_path) as writer:
        writer.add("a", b"1")
    assert tree(tmp_path) == {"a": b"1"}


def test_a_folder_in_the_way_is_told(tmp_path):
    (tmp_path / "a" / "full").mkdir(parents=True)

    def write():
        with FileWriter(tmp_path) as writer:
            writer.add("a", b"1")
            writer.add("b", b"2")

    with pytest.raises(OSError, match="a: Cannot open"):
        write()
    assert tree(tmp_path) == {"b": b"2"}


def small_disk(folder):
    """Runs what follows in a file system of its own with room for 256 KiB, which ends with it."""
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f'mount -t tmpfs -o size=256k none {folder} && exec "$@"', "sh"]


@pytest.mark.parametrize(("count", "size"), [(1, 400_000), (300, 200_000)], ids=["told at the end", "told on the way"])
def test_a_full_disk_is_told_as_such_and_soon(tmp_path, count, size):
    if subprocess.run([*small_disk(tmp_path), "true"], capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system in a namespace of its own")
    code = f"""
        from pathlib import Path
        from visionyard.kit.file_writer import FileWriter
        taken = 0
        try:
            with FileWriter(Path({str(tmp_path)!r})) as writer:
                for number in range({count}):
                    writer.add(str(number), bytes({size}))
                    taken += 1
        except OSError as error:
            print(error.errno, taken)
    """
    command = [*small_disk(tmp_path), sys.executable, "-c", textwrap.dedent(code)]
    # What tar says has no room on that disk either.
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | {"TMPDIR": str(tmp_path)})
    number, taken = map(int, done.stdout.split())
    assert number == errno.ENOSPC
    assert taken <= 100


def test_tar_can_be_found_by_the_stack_and_has_no_options_of_its_user(tmp_path, monkeypatch):
    monkeypatch.setenv("VISIONYARD_STACK_ID", "stack-1")
    monkeypatch.setenv("TAR_OPTIONS", "--verbose")
    with FileWriter(tmp_path) as writer:
        while not (told := Path(f"/proc/{writer._tar.pid}/environ").read_bytes()):
            time.sleep(0.01)  # just begun: the kernel has not put it there yet
        environment = told.split(b"\0")
        assert b"VISIONYARD_STACK_ID=stack-1" in environment
        assert not any(variable.startswith(b"TAR_OPTIONS=") for variable in environment)


def test_a_missing_tar_leaves_nothing_open(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    before = list(Path("/proc/self/fd").iterdir())
    with pytest.raises(FileNotFoundError, match="tar"):
        FileWriter(tmp_path / "folder")
    assert len(list(Path("/proc/self/fd").iterdir())) == len(before)


def test_a_failure_is_told_also_where_no_status_is_to_be_had(tmp_path, monkeypatch):
    """Where a parent has SIGCHLD ignored, waiting for a process always tells 0."""
    (tmp_path / "a" / "full").mkdir(parents=True)

    def write():
        with FileWriter(tmp_path) as writer:
            writer.add("a", b"1")

    previous = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        with pytest.raises(OSError, match="a: Cannot open"):
            write()
    finally:
        signal.signal(signal.SIGCHLD, previous)


def test_a_killed_tar_is_told(tmp_path):
    def add_forever():
        with FileWriter(tmp_path) as writer:
            writer._tar.kill()
            for number in range(1000):
                writer.add(str(number), bytes(100_000))

    with pytest.raises(OSError, match="tar ended with status -9"):
        add_forever()


def test_a_lock_stays_taken_until_the_last_file_of_a_killed_process_is_written(tmp_path):
    code = f"""
        import fcntl, os, signal, time
        from pathlib import Path
        from visionyard.kit.file_writer import FileWriter
        lock = open({str(tmp_path / "lock")!r}, "w")
        fcntl.flock(lock, fcntl.LOCK_EX)
        with FileWriter(Path({str(tmp_path / "folder")!r}), [lock.fileno()]) as writer:
            os.kill(writer._tar.pid, signal.SIGSTOP)
            for number in range(8):
                writer.add(str(number), bytes(100_000))
            writer._send()
            print(writer._tar.pid, flush=True)
            time.sleep(60)
    """
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True) as process:
        tar = int(process.stdout.readline())
        process.kill()
    with (tmp_path / "lock").open() as lock:
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.kill(tar, signal.SIGCONT)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                time.sleep(0.01)
        assert tree(Path(tmp_path / "folder")) == {str(number): bytes(100_000) for number in range(8)}
