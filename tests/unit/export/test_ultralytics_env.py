"""What Ultralytics makes of the prepared environment, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from visionyard.kit import ultralytics_env

_CODE = """
import json, sys
from pathlib import Path
from visionyard.kit import ultralytics_env
folder = Path(sys.argv[1])
variables = ultralytics_env.prepare(folder, {"OMP_NUM_THREADS": "2"})
assert "torch" not in sys.modules
from ultralytics import utils
from ultralytics.nn import tasks
from ultralytics.utils.checks import check_font
print(json.dumps({
    "safe": tasks.SAFE_LOAD, "install": utils.AUTOINSTALL, "online": utils.ONLINE, "settings": dict(utils.SETTINGS),
    "fonts": [str(check_font(name)) for name in ("Arial.ttf", "Arial.Unicode.ttf")], "threads": variables["OMP_NUM_THREADS"],
}))
try:
    ultralytics_env.prepare(folder)
except RuntimeError:
    print("too late")
"""


def test_offline_and_safe(tmp_path: Path) -> None:
    before = (tmp_path / "Ultralytics" / "settings.json").exists()
    done = subprocess.run(
        [sys.executable, "-c", _CODE, str(tmp_path)], check=True, capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    lines = done.stdout.splitlines()
    seen = json.loads(lines[-2])
    assert lines[-1] == "too late"
    assert not before
    assert (seen["safe"], seen["install"], seen["online"], seen["threads"]) == (True, False, False, "2")
    # Ultralytics took the file as it is: had a key been missing or wrong, it would have filled in its own defaults, some of them true.
    assert seen["settings"] == json.loads((tmp_path / "Ultralytics" / "settings.json").read_text())
    assert not any(value is True for value in seen["settings"].values())
    assert seen["fonts"] == [str(tmp_path / "Ultralytics" / name) for name in ("Arial.ttf", "Arial.Unicode.ttf")]


def test_a_relative_folder_is_refused() -> None:
    # In a process in which ultralytics is imported already, that is said first.
    with pytest.raises((ValueError, RuntimeError)):
        ultralytics_env.prepare(Path("relative"))
