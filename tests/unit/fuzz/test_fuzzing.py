"""What fuzzing stands on: any bytes are some files, what is wrong is noticed, each part of the document is its driver's own."""

import os
import signal

import bounds
import cv2
import judging
import numpy as np
import pytest
import verdicts
from bundles import bundle, unbundle
from hypothesis import given
from hypothesis import strategies as st
from judging import judge, minimise
from reliability import with_part
from reporting import keep, kept, report
from round import Round
from slot import Slot


@pytest.fixture(autouse=True)
def threads_of_others():
    """Judging leaves OpenCV one thread; the tests after these have theirs."""
    before = cv2.getNumThreads()
    yield
    cv2.setNumThreads(before)


def test_a_part_is_replaced_and_the_others_stay():
    document = with_part(with_part("", "make a", "# A\n"), "make b", "# B")
    assert document == "<!-- make a begins -->\n# A\n<!-- make a ends -->\n\n<!-- make b begins -->\n# B\n<!-- make b ends -->\n"
    again = with_part(document, "make a", r"# A \1")
    assert again == document.replace("# A", r"# A \1")
    assert with_part(again, "make b", "# B") == again


@given(data=st.binary(max_size=500))
def test_any_bytes_are_some_files(data):
    for path, content in unbundle(data):
        assert path
        assert not path.startswith("/")
        assert ".." not in path.split("/")
        assert content in data


def test_a_bundle_is_its_files():
    files = [("a/b.json", b"{}\n"), ("\u00e9.txt", b""), ("a/b.json", b"x")]
    assert unbundle(b"".join(bundle({path: content}) for path, content in files)) == files


def exits(data):
    if b"dead" in data:
        os.kill(os.getpid(), signal.SIGKILL)
    if b"bad" in data:
        raise KeyError("bad")
    if b"wrong" in data:
        raise verdicts.Broken("counts are wrong")
    if b"large" in data:
        bytearray(3 << 30)


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (b"fine", ""),
        (b"a bad one", "KeyError-elsewhere"),
        (b"a wrong one", "broken-counts-are-wrong"),
        (b"a dead one", "crash-SIGKILL"),
        (b"a large one", "MemoryError-elsewhere"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_what_is_wrong_is_noticed(data, verdict):
    assert judge(exits, data) == verdict


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_hang_ends(monkeypatch):
    monkeypatch.setattr(bounds, "CPU_SECONDS", 0.2)

    def hang(_):
        while True:
            pass

    assert judge(hang, b"") == "hang-elsewhere"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_threads_that_opencv_had_before_hold_nothing_up(monkeypatch):
    monkeypatch.setattr(judging, "_WALL_SECONDS", 20.0)
    cv2.setNumThreads(4)
    cv2.GaussianBlur(np.zeros((2000, 2000), np.float32), (31, 31), 5)
    assert judge(exits, b"fine") == ""


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_memory_that_is_taken_and_hidden_is_noticed(monkeypatch):
    monkeypatch.setattr(bounds, "MEMORY_BYTES", 1 << 26)

    def hides(_):
        bytearray(b"x" * (1 << 27))

    assert judge(hides, b"") == "memory"


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_an_input_gets_as_small_as_shows_the_same():
    assert minimise(exits, b"x" * 40 + b"bad" + b"y" * 40, "KeyError-elsewhere", 60.0) == b"bad"


def test_a_hang_is_told_by_its_innermost_function():
    dump = 'Current thread:\n  File "/x/json.py", line 3 in loads\n  File "/x/visionyard/dataset/formats/coco.py", line 5 in read\n'
    assert verdicts.of_hang(dump) == "hang-coco.read"


def test_the_input_under_way_is_at_hand(tmp_path):
    slot = Slot(tmp_path / "slot")
    slot.begin(b"one")
    slot.begin(b"an other")
    seen = Slot(tmp_path / "slot")
    assert (seen.executions, seen.data) == (2, b"an other")
    seen.restart()
    assert (slot.executions, slot.seconds) == (2, 0.0)


def test_a_run_may_be_spread_over_several_commands(tmp_path):
    for name, executions in (("a", 10), ("b", 20), ("a", 30)):
        (tmp_path / name).mkdir(exist_ok=True)
        keep(tmp_path, Round(name, 61.0, executions, 9, 10, 5, {}), 2)
    (tmp_path / "c").mkdir()
    told = kept(tmp_path, ["a", "b", "c"])
    assert [(one.parser, one.executions, one.coverage, one.finds) for one in told] == [("a", 30, 90.0, ()), ("b", 20, 90.0, ())]
    text = report(told)
    assert "In all 50 executions." in text
    assert "| a | 61 | 30 | 90.0 % | 10 | none |" in text
