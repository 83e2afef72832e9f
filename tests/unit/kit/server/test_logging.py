"""Log lines: JSON, with the request id, without secrets."""

import io
import json
import logging
import warnings

import pytest

from visionyard.kit.logging import configure_logging
from visionyard.kit.request_id import reset_request_id, set_request_id


@pytest.fixture
def log():
    """Configured logging with its output; the process's own is put back afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure_logging("dataset", "INFO", ["s3cr3t-key", "abc"], stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def test_a_line_has_its_fields(log):
    token = set_request_id("r-1")
    logging.getLogger("visionyard.x").info("imported %d images\nof 3", 2, extra={"job": "j1", "images": 2, "ratio": 0.5})
    reset_request_id(token)
    logging.getLogger("visionyard.x").info("no request")
    first, second = log()
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "INFO",
        "logger": "visionyard.x",
        "message": "imported 2 images\nof 3",
        "service": "dataset",
        "request_id": "r-1",
        "job": "j1",
        "images": 2,
        "ratio": 0.5,
    }
    assert "request_id" not in second


def test_an_exception_comes_with_its_trace(log):
    try:
        int("wrong")
    except ValueError:
        logging.getLogger("visionyard.x").exception("failed")
    [line] = log()
    assert line["exception"].startswith("Traceback")
    assert "invalid literal for int() with base 10: 'wrong'" in line["exception"]


def test_secrets_and_signatures_are_blotted_out_everywhere(log):
    url = "http://store/b/k?X-Amz-Credential=AKIA%2F1&X-Amz-Signature=0123abcd&x=1"
    try:
        int("key s3cr3t-key")
    except ValueError:
        logging.getLogger("x").exception("with s3cr3t-key at %s", url, extra={"url": url, "key": ("s3cr3t-key",)})
    text = json.dumps(log())
    assert "s3cr3t" not in text
    assert "0123abcd" not in text
    assert "AKIA" not in text
    assert "x=1" in text


def test_levels_warnings_and_length(log):
    logging.getLogger("x").debug("not shown")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("a warning", stacklevel=1)
    logging.getLogger("x").info("y" * 100_000)
    warning, long = log()
    assert (warning["logger"], warning["level"]) == ("py.warnings", "WARNING")
    assert len(long["message"]) < 17_000
