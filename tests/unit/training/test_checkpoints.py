"""What the bucket holds of a running training's checkpoints."""

from types import SimpleNamespace

from visionyard.kit.objectstore.memory import MemoryObjectStore
from visionyard.training.worker.checkpoints import BEST, LAST, CheckpointStore, Saved


def saved(tmp_path, epoch, *, is_best):
    folder = tmp_path / str(epoch)
    folder.mkdir()
    (folder / "last.pt").write_bytes(f"weights {epoch}".encode())
    (folder / "results.csv").write_bytes(f"rows {epoch}".encode())
    return Saved(epoch, ended=False, is_best=is_best, kept_as="", folder=folder)


def test_what_an_epoch_replaces_can_be_read_for_another_epoch(tmp_path):
    store, pointed = MemoryObjectStore(), []
    context = SimpleNamespace(
        store=store,
        attempt_prefix="j/attempts/1/",
        job=SimpleNamespace(pointers={}),
        check=lambda: None,
        point=lambda **pointers: pointed.append(pointers["checkpoint"]["files"]),
    )
    checkpoints = CheckpointStore(context, lambda _: None)
    for epoch in range(1, 6):
        checkpoints.save(saved(tmp_path, epoch, is_best=epoch == 2))
        checkpoints.wait()
        held = {entry.key for entry in store.list("j/")}
        readable = {entry["key"] for files in pointed[-2:] for entry in files.values()}
        assert readable <= held
        assert len(held - readable) == 0, "older ones go"
    checkpoints.close(1.0)
    assert pointed[-1][BEST]["key"].endswith("000002/last.pt")
    assert pointed[-1][LAST]["key"].endswith("000005/last.pt")


def test_what_a_resumed_training_had_made_is_not_taken_away(tmp_path):
    """A version of the model holds the best.pt that the resumption goes on from."""
    store, version = MemoryObjectStore(), "j/attempts/1/files/weights/best.pt"
    store.put(version, b"of version 1")
    started = {"files": {BEST: {"key": version, "size_bytes": 12, "sha256": ""}}}
    context = SimpleNamespace(
        store=store,
        attempt_prefix="j/attempts/2/",
        job=SimpleNamespace(pointers={"checkpoint": started}),
        check=lambda: None,
        point=lambda **_: None,
    )
    checkpoints = CheckpointStore(context, lambda _: None)
    for epoch in range(2, 5):
        checkpoints.save(saved(tmp_path, epoch, is_best=True))
        checkpoints.wait()
    checkpoints.close(1.0)
    assert store.get(version).data == b"of version 1"
