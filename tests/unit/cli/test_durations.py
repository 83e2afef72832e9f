"""Durations as people write and read them."""

import pytest
import typer

from visionyard.cli.durations import duration_option, duration_text, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("45m", 2700),
        ("45min", 2700),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1h 30m", 5400),
        ("1d12h", 129_600),
        ("1.5h", 5400),
        ("0.5s", 0.5),
    ],
)
def test_durations_are_read(text, seconds):
    assert parse_duration(text, "--time-limit") == seconds


@pytest.mark.parametrize("text", ["", "0s", "-5s", "5", "h", "30m1h", "1h30", "abc", "1e9s", "9" * 50 + "s", "nan", "infs"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(typer.BadParameter, match="no duration above 0"):
        parse_duration(text, "--time-limit")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (42, "42 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3599, "1 h"),
        (5400, "1 h 30 min"),
        (90_000, "1 d 1 h"),
        (86_460, "1 d 1 min"),
    ],
)
def test_durations_are_written(seconds, text):
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0.5s"), (90, "1m30s"), (5400, "1h30m"), (1_036_800, "12d"), (90_061.25, "1d1h1m1.25s"), (86_399.9996, "1d")],
)
def test_a_duration_is_shown_as_it_is_given(seconds: float, text: str) -> None:
    assert duration_option(seconds) == text
    assert parse_duration(text, "--time-limit") == pytest.approx(seconds, abs=1e-3)
