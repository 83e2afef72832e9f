"""Epochs that are kept on request, and what is left where a job goes back to one."""

from types import SimpleNamespace

import pytest

from visionyard.kit.errors import Reason, YardError
from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.training.kept_epochs import checkpoint_at, entries
from visionyard.training.worker.checkpoints import BEST, LAST, RESULTS, CheckpointStore, Saved, sweep


@pytest.fixture
def trained(tmp_path):
    """A job of five epochs, the second and the fifth the best so far, every second one kept."""
    store = MemoryObjectStore()
    job = SimpleNamespace(name=SimpleNamespace(id="j"), pointers={})
    context = SimpleNamespace(
        store=store, attempt_prefix="j/attempts/1/", job=job, check=lambda: None, point=lambda **new: job.pointers.update(new)
    )
    checkpoints = CheckpointStore(context, lambda _: None)
    for epoch in range(1, 6):
        folder = tmp_path / str(epoch)
        folder.mkdir()
        for name in ("last.pt", "results.csv", "events.1"):
            (folder / name).write_bytes(f"{name} {epoch}".encode())
        kept_as = f"weights/epoch{epoch - 1}.pt" if epoch % 2 else ""
        checkpoints.save(Saved(epoch, epoch == 5, epoch in {2, 5}, kept_as, folder, {"best_epoch": 5}, "tensorboard/events.1"))
        checkpoints.wait()
    checkpoints.close(1.0)
    return store, job


def read(store, entry):
    return store.get(entry["key"]).data.decode()


def test_a_kept_epoch_has_the_best_and_the_results_of_its_time(trained):
    store, job = trained
    found = checkpoint_at(job, 3)
    assert (found["epoch"], found["ended"]) == (3, False)
    assert read(store, found["files"][LAST]) == "last.pt 3"
    assert read(store, found["files"][BEST]) == "last.pt 2"
    assert found["measured"]["best_epoch"] == 2
    assert read(store, found["files"][RESULTS]) == "results.csv 3"
    assert read(store, found["files"]["tensorboard/events.1"]) == "events.1 3"
    assert {path for path in found["files"] if "epoch" in path} == {"weights/epoch0.pt", "weights/epoch2.pt"}
    assert sorted(found["kept"]) == ["1", "3"]


def test_all_that_is_pointed_at_is_held_and_a_sweep_leaves_it(trained):
    store, job = trained
    pointed = {entry["key"] for entry in entries(job.pointers["checkpoint"])}
    assert pointed <= {entry.key for entry in store.list("")}
    back = checkpoint_at(job, 1)
    sweep(SimpleNamespace(store=store, job=SimpleNamespace(name="j", attempt=1)), entries(back))
    assert {entry["key"] for entry in entries(back)} == {entry.key for entry in store.list("")}


def test_a_worker_that_wakes_behind_its_takeover_sweeps_nothing_of_the_later_attempt(trained):
    store, job = trained
    for attempt in (1, 2, 3):
        store.put(f"j/attempts/{attempt}/checkpoints/000009/last.pt", b"weights")
    sweep(SimpleNamespace(store=store, job=SimpleNamespace(name="j", attempt=2)), entries(job.pointers["checkpoint"]))
    left = [entry.key for entry in store.list("j/attempts/") if "/000009/" in entry.key]
    assert left == ["j/attempts/3/checkpoints/000009/last.pt"]


def test_the_last_epoch_needs_no_keeping(trained):
    _, job = trained
    found = checkpoint_at(job, 5)
    assert found["ended"] is False
    assert sorted(found["kept"]) == ["1", "3", "5"]


def test_an_epoch_that_was_not_kept_is_refused_with_those_that_are(trained):
    _, job = trained
    with pytest.raises(YardError, match="has not kept epoch 4: it has 1, 3, 5") as refused:
        checkpoint_at(job, 4)
    assert refused.value.reason is Reason.INVALID_FIELD
    with pytest.raises(YardError, match="it has none"):
        checkpoint_at(SimpleNamespace(name=SimpleNamespace(id="j"), pointers={}), 1)
