"""Two appends at the same time: neither loses the other's images, whoever is killed when."""

import pytest
from tests.unit.dataset.conftest import good_set, zipped
from tests.unit.dataset.curation.test_appending import more

from visionyard.dataset.deletion import Deletions
from visionyard.dataset.import_attempt import ImportLimits
from visionyard.dataset.import_job import run_import
from visionyard.kit.artifacts.dataset import read_dataset_version, read_images
from visionyard.kit.errors import Reason, YardError
from visionyard.kit.names import VersionName

BOX = ["0 .5 .5 .2 .2"]


class Killed(BaseException):
    pass


@pytest.fixture
def base(bench):
    return bench.run(zipped(good_set(8)))[0]


def newest(bench, base):
    return read_dataset_version(bench.store, VersionName(base.name.parent, None))


def names(bench, version):
    return {row.name for row in bench.rows(version)}


def beside(bench, context, phase, *archives):
    """Appends these archives, one each time that the import of the context reaches the phase."""
    waiting, report = list(archives), context.report

    def reported(name, *rest):
        report(name, *rest)
        if name == phase and waiting:
            bench.run(waiting.pop(0), append=True)

    context.report = reported


def whole(bench, version):
    return len(list(read_images(bench.store, bench.rows(version), version)))


@pytest.mark.parametrize("phase", ["checking images", "examining the set", "writing the manifest", "publishing"])
def test_the_later_one_holds_the_images_of_both(bench, base, phase):
    context = bench.context(bench.spec(more(mine=(500, BOX)), append=True))
    beside(bench, context, phase, more(theirs=(501, BOX)))
    bench.attempt(context)
    version = newest(bench, base)
    assert version.name.number == 3
    assert names(bench, version) == names(bench, base) | {"mine.jpg", "theirs.jpg"}
    assert version.origin["sources"] == [f"{base.name.parent}/versions/2"]
    assert whole(bench, version) == base.image_count + 2
    keys = bench.listing()
    assert [sum(f"/{kind}/" in key for key in keys) for kind in ("shards", "manifests", "index", "pins")] == [3, 3, 3, 0]
    assert len(bench.uploads.held) == 0


def test_one_that_takes_the_number_at_the_last_moment_is_seen(bench, base, monkeypatch):
    context = bench.context(bench.spec(more(mine=(500, BOX)), append=True))
    create, others = bench.store.create, [more(theirs=(501, BOX))]

    def beaten(key, *arguments, **words):
        if "/versions/" in key and others:
            bench.run(others.pop(), append=True)
        return create(key, *arguments, **words)

    monkeypatch.setattr(bench.store, "create", beaten)
    bench.attempt(context)
    assert names(bench, newest(bench, base)) == names(bench, base) | {"mine.jpg", "theirs.jpg"}


def test_what_was_decided_and_not_published_before_its_worker_died_is_decided_anew(bench, base):
    spec = bench.spec(more(mine=(500, BOX)), append=True)
    context = bench.context(spec)

    def dying(phase, *_):
        if phase == "publishing":
            raise Killed

    context.report = dying
    with pytest.raises(Killed):
        run_import(context, bench.uploads, ImportLimits())
    assert context.job.pointers["prepared"]
    bench.run(more(theirs=(501, BOX)), append=True)
    again = bench.context(spec, attempt=2, pointers=context.job.pointers, job=context.job.name)
    bench.attempt(again)
    version = newest(bench, base)
    assert names(bench, version) == names(bench, base) | {"mine.jpg", "theirs.jpg"}
    assert whole(bench, version) == base.image_count + 2
    assert sum("/shards/" in key for key in bench.listing()) == 3, "what the first attempt had stored is gone"


def test_one_that_is_overtaken_again_and_again_says_so_and_leaves_nothing(bench, base):
    context = bench.context(bench.spec(more(mine=(500, BOX)), append=True))
    beside(bench, context, "writing the manifest", *(more(**{f"theirs{i}": (600 + i, BOX)}) for i in range(20)))
    with pytest.raises(YardError, match="got other versions") as caught:
        run_import(context, bench.uploads, ImportLimits())
    assert caught.value.reason is Reason.DATASET_CHANGED
    assert context.job.pointers["failure"]["reason"] == "DATASET_CHANGED"
    count = newest(bench, base).name.number
    keys = bench.listing()
    assert [sum(f"/{kind}/" in key for key in keys) for kind in ("shards", "manifests", "pins")] == [count, count, 0]
    assert len(bench.uploads.held) == 0


def test_an_append_goes_on_where_only_versions_were_deleted(bench, base):
    """The number of the newest that was deleted before does not come again, and the base may go too: its images were taken already."""
    second, _ = bench.run(more(gone=(700, BOX)), append=True)
    deletions = Deletions(bench.store)
    deletions.delete_version(second.name, validate_only=False)
    context = bench.context(bench.spec(more(mine=(500, BOX)), append=True))

    def deleting(phase, *_):
        if phase == "writing the manifest":
            deletions.delete_version(base.name, validate_only=False)

    rows = names(bench, base)
    context.report = deleting
    bench.attempt(context)
    version = newest(bench, base)
    assert version.name.number == 3
    assert names(bench, version) == rows | {"mine.jpg"}


def test_an_import_that_adds_to_nothing_is_not_held_up(bench, base):
    context = bench.context(bench.spec(zipped(good_set(3))))
    beside(bench, context, "writing the manifest", more(theirs=(501, BOX)))
    bench.attempt(context)
    assert newest(bench, base).name.number == 3
