"""What messages say, in each receiver's form; signatures; what answers mean; how long is waited."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import pytest

from visionyard.kit.jobs.model import JobState, progress_key
from visionyard.kit.web.urls import Url
from visionyard.training.notifications import delivery
from visionyard.training.notifications.answers import Outcome, judge_answer
from visionyard.training.notifications.channel import ChannelKind
from visionyard.training.notifications.delivery import Delivery, backoff_s
from visionyard.training.notifications.events import Event, JobEvent
from visionyard.training.notifications.message import Message, compose, duration, plain, trial_message
from visionyard.training.notifications.signing import signed
from visionyard.training.notifications.templates import body

NOW = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
HOSTILE = 'x"}],"a":1} </at> <!channel> [here](http://evil.example) <@all> **b** `c` \u202e\ud800 \x1b[31m & {{7*7}} ' + "y" * 9000
MESSAGE = Message(
    id="j.failed.1",
    event="failed",
    time=NOW.isoformat(),
    project="default",
    job="projects/default/trainingJobs/j",
    state="FAILED",
    attempt=1,
    dataset="cones@3",
    model="m",
    epoch=2,
    epochs=5,
    metrics={"metrics/mAP50-95(B)": 0.51234, "train/box_loss": 1.0},
    duration_s=3725.0,
    error_reason="TRAINING_FAILED",
    error=plain(HOSTILE, 500),
    host="gpu1",
)
FACTS = ("cones@3", "2 of 5", "0.5123", "1 h 02 min", "gpu1")


def posted(kind, message=MESSAGE):
    """The body as a receiver gets it."""
    return json.loads(json.dumps(body(kind, message), allow_nan=False).encode().decode("ascii"))


def texts(value):
    if isinstance(value, str):
        return [value]
    children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for child in children for text in texts(child)]


@pytest.mark.parametrize("kind", ChannelKind)
def test_every_form_holds_the_facts_and_no_markup_of_a_strangers(kind):
    found = "\n".join(texts(posted(kind)))
    for fact in FACTS if kind is not ChannelKind.WEBHOOK else FACTS[:1]:
        assert fact in found
    assert "\x1b" not in found
    assert "\ud800" not in found
    if kind is not ChannelKind.WEBHOOK and kind is not ChannelKind.FEISHU:  # those two have no markup
        assert "<" not in found
    if kind in {ChannelKind.WECOM, ChannelKind.DINGTALK}:
        assert "](" not in found
        assert "**b**" not in found


def test_the_forms():
    assert posted(ChannelKind.WECOM)["msgtype"] == "markdown"
    assert posted(ChannelKind.WECOM)["markdown"]["content"].startswith("**Training failed: m**\n>Job: j\n")
    assert posted(ChannelKind.DINGTALK)["markdown"]["title"] == "Training failed: m"
    assert "Visionyard" in posted(ChannelKind.DINGTALK)["markdown"]["text"], "for a robot with keywords"
    post = posted(ChannelKind.FEISHU)
    assert post["msg_type"] == "post"
    assert {part["tag"] for row in post["content"]["post"]["zh_cn"]["content"] for part in row} == {"text"}
    slack = posted(ChannelKind.SLACK)
    assert set(slack) == {"text", "blocks"}
    assert "&lt;!channel&gt;" in slack["text"]
    assert len(slack["blocks"][1]["fields"]) <= 10


def test_lengths_are_bounded():
    long = Message(**{**MESSAGE.to_json(), "model": "m" * 63, "error": "é" * 9000, "host": "h" * 3000})
    assert len(posted(ChannelKind.WECOM, long)["markdown"]["content"].encode()) <= 4096
    assert max(len(field["text"]) for field in posted(ChannelKind.SLACK, long)["blocks"][1]["fields"]) <= 2000


def test_the_plain_webhook():
    found = posted(ChannelKind.WEBHOOK)
    assert found | {"text": "", "error": None} == {
        "version": 1,
        "id": "j.failed.1",
        "event": "failed",
        "time": "2026-11-22T10:00:00+00:00",
        "text": "",
        "project": "default",
        "job": "projects/default/trainingJobs/j",
        "state": "FAILED",
        "attempt": 1,
        "dataset": "cones@3",
        "model": "m",
        "model_version": "",
        "epoch": 2,
        "epochs": 5,
        "metrics": {"metrics/mAP50-95(B)": 0.51234, "train/box_loss": 1.0},
        "main_metric": {"name": "metrics/mAP50-95(B)", "value": 0.51234},
        "duration_s": 3725.0,
        "error": None,
        "host": "gpu1",
    }
    assert found["error"] == {"reason": "TRAINING_FAILED", "message": MESSAGE.error}


@pytest.mark.parametrize("kind", ChannelKind)
def test_a_trial(kind):
    message = trial_message("default", "ops", NOW, "gpu1")
    assert any("Test message" in text for text in texts(posted(kind, message)))


def test_what_is_composed(bench):
    job = bench.runs(bench.job())
    report = {
        "sequence": 1, "phase": "", "done": 0, "total": 0, "unit": "",
        "detail": {"epoch": 3, "epochs": 5, "metrics": {"metrics/accuracy_top1": 0.25, "train/loss": 0.5}},
    }  # fmt: skip
    bench.store.put(progress_key(job.name, 1), json.dumps(report).encode())
    bench.store.put("results", b"epoch,  metrics/mAP50-95(B), lr/pg0\n1, 0.1, 0\n2, 0.2, 0\n3, nan, 0\n")
    files = {"results.csv": {"key": "results"}}
    job = bench.change(job, pointers={"checkpoint": {"epoch": 4, "files": files}}, start_time=NOW)

    def of(event, number, job=job):
        progress = bench.records.progress(job)
        return compose(bench.store, JobEvent(event, job.name, number, "gpu1"), job, progress, NOW + timedelta(seconds=90))

    improved = of(Event.IMPROVED, 2)
    assert (improved.epoch, dict(improved.metrics)) == (2, {"metrics/mAP50-95(B)": 0.2}), "that epoch's own, not the newest"
    preempted = of(Event.PREEMPTED, 1)
    assert (preempted.epoch, preempted.epochs, preempted.duration_s) == (4, 5, 90.0)
    assert preempted.main_metric == ("metrics/accuracy_top1", "top-1 accuracy", 0.25)
    assert of(Event.STARTED, 1).main_metric is None
    trained = {"trained": {"metrics": {"metrics/mAP50-95(B)": 0.7}}, "model_version": "projects/default/models/m/versions/4"}
    ended = bench.change(job, pointers=trained, state=JobState.SUCCEEDED, end_time=NOW + timedelta(seconds=60))
    finished = of(Event.FINISHED, 1, ended)
    assert (finished.duration_s, dict(finished.metrics)) == (60.0, {"metrics/mAP50-95(B)": 0.7})
    assert ("Model", "m@4") in finished.lines
    assert Message.from_json(json.loads(json.dumps(finished.to_json()))) == finished


def test_durations():
    assert [duration(s) for s in (0.4, 59, 200, 7500)] == ["0 s", "59 s", "3 min 20 s", "2 h 05 min"]


def test_dingtalks_signature():
    url = Url.parse("https://oapi.dingtalk.com/robot/send?access_token=T")
    to, unchanged = signed(ChannelKind.DINGTALK, url, {"a": 1}, "SECx", 1700000000.1234)
    query = parse_qs(to.query)
    expected = base64.b64encode(hmac.new(b"SECx", b"1700000000123\nSECx", hashlib.sha256).digest()).decode()
    assert query == {"access_token": ["T"], "timestamp": ["1700000000123"], "sign": [expected]}
    assert unchanged == {"a": 1}
    assert signed(ChannelKind.DINGTALK, url, {}, "", 0) == (url, {})


def test_feishus_signature():
    url = Url.parse("https://open.feishu.cn/open-apis/bot/v2/hook/T")
    to, body_ = signed(ChannelKind.FEISHU, url, {"msg_type": "post"}, "S", 1700000000.6)
    expected = base64.b64encode(hmac.new(b"1700000001\nS", b"", hashlib.sha256).digest()).decode()
    assert (to, body_) == (url, {"msg_type": "post", "timestamp": "1700000001", "sign": expected})


@pytest.mark.parametrize(
    ("kind", "status", "data", "outcome"),
    [
        ("wecom", 200, b'{"errcode":0,"errmsg":"ok"}', "delivered"),
        ("wecom", 200, b'{"errcode":93000,"errmsg":"invalid webhook url"}', "given up"),
        ("wecom", 200, b'{"errcode":45009}', "again"),
        ("wecom", 200, b'{"errcode":-1}', "again"),
        ("dingtalk", 200, b'{"errcode":310000,"errmsg":"keywords not in content"}', "given up"),
        ("dingtalk", 200, b'{"errcode":130101}', "again"),
        ("feishu", 200, b'{"code":19021,"msg":"sign match fail"}', "given up"),
        ("feishu", 400, b'{"code":9499}', "given up"),
        ("feishu", 200, b'{"code":11232}', "again"),
        ("feishu", 200, b'{"code":0,"StatusCode":0}', "delivered"),
        ("slack", 200, b"ok", "delivered"),
        ("slack", 404, b"no_service", "given up"),
        ("slack", 429, b"", "again"),
        ("webhook", 204, b"", "delivered"),
        ("webhook", 200, b'{"errcode": 1, "code": 1}', "delivered"),
        ("webhook", 302, b"", "given up"),
        ("webhook", 500, b"", "again"),
        ("webhook", 408, b"", "again"),
        ("wecom", 200, b"", "delivered"),
        ("wecom", 200, b"[" * 60_000, "delivered"),
        ("wecom", 200, b'{"errcode": "x"}', "delivered"),
        ("wecom", 502, b"<html>", "again"),
    ],
)
def test_what_answers_mean(kind, status, data, outcome):
    found = judge_answer(ChannelKind(kind), status, data, "")
    assert {(True, False): "delivered", (False, True): "given up", (False, False): "again"}[found.delivered, found.permanent] == outcome
    assert found.http_status == status
    assert bool(found.told) == (outcome != "delivered")
    assert "keywords not" not in found.told, "nothing of the receiver's own words"


def test_a_receiver_may_ask_for_time():
    assert judge_answer(ChannelKind.SLACK, 429, b"", "30").wait_s == 30
    assert judge_answer(ChannelKind.SLACK, 503, b"", "99999999999").wait_s == 900
    assert judge_answer(ChannelKind.SLACK, 503, b"", "Wed, 21 Oct 2026 07:28:00 GMT").wait_s == 0
    assert judge_answer(ChannelKind.WECOM, 200, b'{"errcode":45009}', "").wait_s == 60


def test_waits_grow_and_end_after_an_hour():
    nominal = [5, 10, 20, 40, 80, 160, 320, 640, 900, 900]
    for tries, wait in enumerate(nominal, start=1):
        found = [backoff_s(tries) for _ in range(200)]
        assert 0.75 * wait <= min(found) < wait < max(found) <= 1.25 * wait
    entry, now, tries = Delivery(0, NOW, NOW), NOW, 0
    while (left := entry.failed(Outcome(delivered=False), now)) is not None:
        assert not left.due(now)
        entry, now, tries = left, left.next, tries + 1
    assert 8 <= tries <= 14
    assert timedelta(minutes=40) < now - NOW <= timedelta(hours=1)


def test_deliveries_are_kept_whole():
    entry = Delivery(2, NOW, NOW + timedelta(seconds=20)).claimed("c", NOW)
    assert delivery.from_json(json.loads(json.dumps(delivery.to_json({"ops": entry})))) == {"ops": entry}
    assert not entry.due(NOW + timedelta(seconds=30)), "somebody is at it"
    assert entry.due(NOW + timedelta(minutes=2)), "who claimed it has died"
