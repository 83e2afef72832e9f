"""Every way out of ``yard``: its exit code and what stands on stderr."""

import json
import os
import subprocess
import sys

import pytest

from visionyard import __version__
from visionyard.cli import app, main
from visionyard.kit.errors import Reason, YardError
from visionyard.local import machine, stack


@pytest.fixture
def yard(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("VISIONYARD_HOME", str(tmp_path))

    def run(*words):
        code = main.run(list(words))
        found = capsys.readouterr()
        return code, found.out, found.err

    return run


def test_the_version(yard):
    assert yard("--version") == (0, f"yard {__version__}\n", "")
    assert json.loads(yard("--version", "--json")[1]) == {"version": __version__}


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("no-such-command",),
        ("dataset",),
        ("dataset", "show"),
        ("dataset", "show", "a", "b"),
        ("predict", "cones"),
        ("train", "cones"),
        ("train", "cones", "--model", "m", "--epochs", "0"),
        ("train", "cones", "--model", "m", "--set", "nothing"),
        ("export", "cones", "--format", "tflite"),
        ("dataset", "import", "x.zip", "--name", "x", "--split", "0.5,0.4"),
        ("dataset", "import", "x.zip", "--name", "x", "--format", "kitti"),
        ("dataset", "import", "x.zip", "--name", "x", "--format", "datumaro:"),
        ("dataset", "import", "x.zip", "--name", "x", "--format", "datumaro:../x"),
        ("dataset", "append", "x", "x.zip", "--format", "Datumaro:kitti"),
        ("predict", "cones", "a.jpg", "--conf", "2"),
        ("job", "list", "--kind", "video"),
        ("status", "--nope"),
    ],
)
def test_wrong_usage_exits_2_with_a_sentence_or_an_object(yard, words):
    code, out, err = yard(*words)
    assert (code, out) == (2, "")
    assert "Traceback" not in err
    code, out, err = yard(*words, "--json")
    assert (code, out) == (2, "")
    error = json.loads(err)["error"]
    assert error["code"] == "INVALID_ARGUMENT"
    assert error["message"]
    assert set(error) == {"code", "reason", "message", "metadata"}


@pytest.mark.parametrize("words", [("dataset", "import", "nowhere.zip", "--name", "x"), ("model", "push", "nowhere.pt", "--name", "x")])
def test_a_missing_file_exits_1_without_asking_a_server(yard, words):
    code, _, err = yard(*words)
    assert code == 1
    assert err.startswith("yard: cannot read nowhere.")
    assert err.count("\n") == 1
    code, _, err = yard(*words, "--json")
    assert json.loads(err)["error"]["reason"] == "FILE_NOT_FOUND"


def test_names_are_checked_before_anything_is_sent(yard, tmp_path):
    (tmp_path / "a.zip").write_bytes(b"x")
    code, _, err = yard("dataset", "import", str(tmp_path / "a.zip"), "--name", "a/../b", "--json")
    assert code == 1
    assert json.loads(err)["error"]["reason"] == "INVALID_NAME"


def raising(error):
    def command():
        raise error

    return lambda: lambda **_: command()


def test_nobody_sees_a_traceback(yard, monkeypatch, tmp_path):
    monkeypatch.setattr(main, "build", raising(RuntimeError("secret detail")))
    code, _, err = yard("dataset", "list", "--json")
    assert code == 1
    error = json.loads(err)["error"]
    assert error["code"] == "INTERNAL"
    assert "secret detail" not in error["message"]
    log = (tmp_path / "logs" / "yard.log").read_text()
    assert "secret detail" in log
    assert "Traceback" in log


def test_the_log_is_where_dir_says(yard, monkeypatch, tmp_path):
    monkeypatch.setattr(main, "build", raising(RuntimeError("x")))
    yard("dataset", "list", "--dir", str(tmp_path / "other"))
    assert (tmp_path / "other" / "logs" / "yard.log").exists()


def test_errors_of_the_domain_and_ctrl_c(yard, monkeypatch):
    monkeypatch.setattr(main, "build", raising(YardError(Reason.NO_IMAGES, "there is none", {"file": "a"})))
    code, _, err = yard("x", "--json")
    assert (code, json.loads(err)["error"]) == (
        1,
        {"code": "INVALID_ARGUMENT", "reason": "NO_IMAGES", "message": "there is none", "metadata": {"file": "a"}},
    )
    monkeypatch.setattr(main, "build", raising(KeyboardInterrupt()))
    assert yard("x")[0] == 130


def leaves(command, path=()):
    commands = getattr(command, "commands", None)
    if not commands:
        yield path, command
    for name, sub in (commands or {}).items():
        yield from leaves(sub, (*path, name))


def test_each_command_has_help_an_example_json_and_dir(yard):
    found = list(leaves(app.build()))
    assert len(found) == 51
    for path, command in found:
        code, out, err = yard(*path, "--help")
        assert (code, err) == (0, "")
        assert command.help.strip()
        assert "Example:" in out
        assert f"yard {' '.join(path)}" in out.split("Example:")[1], path
        assert {"--json", "--dir"} <= {option for parameter in command.params for option in parameter.opts}, path
        assert all(parameter.help for parameter in command.params if parameter.name != "help"), path


def test_stdout_that_is_closed_is_no_error_for_the_reader(tmp_path):
    environment = {**os.environ, "VISIONYARD_HOME": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, "-m", "visionyard.cli.main", "train", "--help"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.stderr.close()
    process.wait()


@pytest.mark.parametrize(("gpus", "device", "told"), [([{}], None, True), ([], None, False), ([{}], "gpu", False)])
def test_up_says_that_predictions_run_on_the_cpu_beside_a_gpu(yard, monkeypatch, tmp_path, gpus, device, told):
    def started(directory, *, any_port, detach, on_ready):
        on_ready(stack.Up(tmp_path, already=False, processes=[]))
        return 0

    monkeypatch.setattr(stack, "up", started)
    monkeypatch.setattr(machine, "gpus", lambda: gpus)
    monkeypatch.delenv("VISIONYARD_TRITON_DEVICE", raising=False)
    if device:
        monkeypatch.setenv("VISIONYARD_TRITON_DEVICE", device)
    code, out, _ = yard("up", "--detach")
    assert code == 0
    assert ("predictions of the embedded stack run on the CPU" in out) == told
