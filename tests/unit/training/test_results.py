"""Which of a run's files are kept."""

from visionyard.training.worker import results


def test_pictures_never_crowd_out_the_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_MAX_FILES", 6)
    pictures = [f"visualizations/{i:03d}.png" for i in range(10)]
    for name in ["weights/best.pt", "weights/last.pt", "weights/epoch1.pt", "results.csv", "args.yaml", "labels.jpg", *pictures]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    kept = results._chosen([path for path in tmp_path.rglob("*") if path.is_file()], tmp_path)
    names = [path.relative_to(tmp_path).as_posix() for path in kept]
    assert set(names[:3]) == {"weights/best.pt", "results.csv", "args.yaml"}
    assert names[3:] == ["weights/epoch1.pt", "weights/last.pt", "labels.jpg"]
