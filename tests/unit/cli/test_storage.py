"""What people give and are told about storage."""

from datetime import timedelta

import pytest
import typer

from visionyard.cli import storage
from visionyard.dataset.v1 import storage_pb2


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("0s", timedelta(0)), ("90m", timedelta(minutes=90)), ("12h", timedelta(hours=12)), ("7d", timedelta(days=7))],
)
def test_a_grace_period_as_people_write_it(text, wanted):
    assert storage.parse_grace(text) == wanted


@pytest.mark.parametrize("text", ["", "0", "-1s", "1.5h", "1w", "s", "1h30m", "9999999999s"])
def test_what_is_no_grace_period_is_refused(text):
    with pytest.raises(typer.BadParameter):
        storage.parse_grace(text)


def test_a_collection_says_what_it_left_and_for_whom(capsys):
    amount = storage_pb2.StorageAmount(object_count=2, bytes=2048)
    done = storage_pb2.StorageCollection(
        freed_bytes=-5,
        collected=[storage_pb2.CollectedKind(kind=storage_pb2.STORAGE_KIND_REPORTS, amount=amount)],
        rewritten_shard_count=1,
        young=amount,
        pinned=amount,
        pinning_jobs=["projects/p/importJobs/0abc"],
        unknown_keys=["projects/p/odd\x1b[2J"],
    )
    storage._collected(done, dry_run=False)
    told = capsys.readouterr().out
    for words in ("freed 0 B", "reports", "1 shards", "younger than the grace period", "(0abc)", "left alone: projects/p/odd\\x1b[2J"):
        assert words in told
    storage._collected(done, dry_run=True)
    assert "would free" in capsys.readouterr().out


def test_storage_says_how_full_the_quota_is(capsys):
    total = storage_pb2.StorageAmount(object_count=3, bytes=5 << 20)
    use = storage_pb2.StorageUse(kind=storage_pb2.STORAGE_KIND_SHARDS, total=total, unreferenced=total)
    storage._shown(storage_pb2.Storage(project="projects/p", total=total, uses=[use], quota_bytes=10 << 20, dead_shard_bytes=1024))
    told = capsys.readouterr().out
    for words in ("5.0 MiB of 10.0 MiB (50%)", "shards", "1.0 KiB in shards", "yard storage collect"):
        assert words in told
