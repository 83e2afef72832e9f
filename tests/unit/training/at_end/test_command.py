"""The operator's command in a real shell."""

import time
from pathlib import Path

import pytest

from visionyard.training.at_end.command import CommandFailed, Interrupted, run_command


def test_it_is_a_shell_command_and_what_it_prints_comes_back(tmp_path):
    assert run_command("echo one; echo two >&2; pwd > here", 10, tmp_path) == "one\ntwo"
    assert (tmp_path / "here").read_text().strip() == str(tmp_path)


def test_our_secrets_are_not_in_its_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("VISIONYARD_S3_SECRET_KEY", "hush")
    monkeypatch.setenv("VISIONYARD_S3_ACCESS_KEY", "hush")
    monkeypatch.setenv("VISIONYARD_END_COMMAND", "hush")
    monkeypatch.setenv("VISIONYARD_STACK_ID", "hush")  # else `yard down` in it would kill it
    monkeypatch.setenv("PROVIDER_TOKEN", "theirs")
    printed = run_command("env", 10, tmp_path)
    assert "hush" not in printed
    assert "PROVIDER_TOKEN=theirs" in printed


def test_its_failure_says_how_and_what_it_printed(tmp_path):
    with pytest.raises(CommandFailed, match="status 3 and printed: no power"):
        run_command("echo no power; exit 3", 10, tmp_path)


def test_one_that_does_not_end_is_killed_with_what_it_started(tmp_path):
    with pytest.raises(CommandFailed, match="had not ended after 1 s"):
        run_command("(sleep 2; touch late) & sleep 100", 1, tmp_path)
    time.sleep(1.5)
    assert not (tmp_path / "late").exists()


def test_what_it_leaves_behind_is_not_waited_for(tmp_path):
    began = time.monotonic()
    assert run_command("sleep 20 & echo done", 15, tmp_path) == "done"
    assert time.monotonic() - began < 10


def test_the_command_s_own_words_are_not_told(tmp_path):
    with pytest.raises(CommandFailed) as failed:
        run_command("echo 'Bearer abcdefgh12345678' | sed 's/^/said: /'; exit 2", 10, tmp_path)
    assert "abcdefgh" not in str(failed.value)
    assert "said: Bearer ***" in str(failed.value)


@pytest.mark.parametrize("command", ["kill -TERM $$", "sh -c 'kill -TERM $$'; exit $?"])
def test_a_command_that_somebody_ends_is_interrupted(tmp_path, command):
    with pytest.raises(Interrupted):
        run_command(command, 10, tmp_path)
    with pytest.raises(CommandFailed, match="status -9"):
        run_command("kill -KILL $$", 10, tmp_path)


def test_a_full_disk_does_not_keep_it_from_running():
    assert run_command("pwd", 10, Path("/proc/none")) == "/"


def test_only_the_end_of_much_output_is_kept(tmp_path):
    printed = run_command("yes | head -100000; echo end", 20, tmp_path)
    assert len(printed) <= 4000
    assert printed.endswith("end")
