import json

import pytest

from visionyard.local import demo
from visionyard.local.demo_steps import STATE_DIR, Line, StepFailed


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    STATE_DIR.mkdir()
    return tmp_path


def yard(here, script):
    path = here / "yard"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_an_interrupted_run_goes_on_after_what_it_had_finished(here):
    first = Line({"data": None}, here / "yard")
    first.step("import", "it", lambda: {"version": "v", "told": "3 images"})
    second = Line({"data": None}, here / "yard")
    second.recall()
    assert second.step("import", "it", lambda: pytest.fail("done already")) == {"version": "v"}
    other = Line({"data": "elsewhere"}, here / "yard")
    other.recall()
    assert other.steps == {}


def test_a_failed_step_is_not_noted(here):
    line = Line({}, yard(here, "exit 1"))
    with pytest.raises(StepFailed, match="yard train x exited with 1"):
        line.step("train", "it", lambda: line.call("train", "x")[0])
    assert line.steps == {}


def test_the_table_and_the_summary_stand_in_the_lines_order(here):
    line = Line({"data": None}, here / "yard")
    line.step("import", "it", lambda: {"image_count": 3, "told": "3 images"})
    line.step("start", "it", lambda: {"told": "8 processes"})
    assert [row.split()[0] for row in demo.table(line).splitlines()] == ["start", "import", "in"]
    demo.write_summary(line, None)
    summary = json.loads((demo.OUTPUT_DIR / "summary.json").read_text())
    assert [step["name"] for step in summary["steps"]] == ["start", "import"]
    assert summary["dataset"] == {"image_count": 3}


@pytest.mark.parametrize(("map50", "code"), [(0.93, 0), (0.49, 1), (None, 1)])
def test_a_sample_that_was_not_learned_fails(here, map50, code, capsys):
    line = Line({}, yard(here, "echo '{}'"))
    line.steps["train"] = {"seconds": 1.0, "told": "", "result": {"mAP50": map50}}
    assert demo._finish(line, None, own=True) == code
    assert ("not learned" in capsys.readouterr().err) == bool(code)
