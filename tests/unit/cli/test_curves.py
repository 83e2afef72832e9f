"""The curves that `yard job watch` draws: every point is on the plot, and lines have one width."""

from visionyard.cli.curves import HEIGHT, plot, series_of, side_by_side
from visionyard.training.v1 import training_report_pb2


def epochs(count):
    return [
        training_report_pb2.EpochFigures(
            epoch=at,
            values={
                "train/box_loss": 3 / at,
                "train/cls_loss": 1,
                "val/box_loss": 4 / at,
                "metrics/mAP50(B)": at / (count + 1),
                "lr/pg0": 0.1,
            },
        )
        for at in range(1, count + 1)
    ]


def text(line):
    return "".join(cell.text for cell in line)


def test_losses_are_summed_and_metrics_kept_apart():
    found = series_of(epochs(2))
    assert found == {
        "loss": {"train": [(1, 4.0), (2, 2.5)], "val": [(1, 4.0), (2, 2.0)]},
        "metrics": {"mAP50(B)": [(1, 1 / 3), (2, 2 / 3)]},
    }


def test_a_falling_curve_goes_from_the_top_left_to_the_bottom_right():
    lines = plot("loss", {"train": [(1, 5.0), (9, 0.0)]}, 40)
    curves = [text(line)[8:] for line in lines[1:-1]]
    assert len(curves) == HEIGHT
    assert curves[0][0] != "\u2800"
    assert curves[-1][-1] != "\u2800"
    assert curves[0][-1] == curves[-1][0] == "\u2800"
    assert text(lines[1]).startswith("      5 ")
    assert text(lines[-1]).endswith("epoch 9")


def test_every_line_has_the_width_that_there_is_room_for():
    for columns in (20, 50, 80, 200):
        for count in (1, 2, 300):
            lines = side_by_side(epochs(count), columns)
            assert len({len(text(line)) for line in lines}) == 1
            if columns >= 50:
                assert len(text(lines[0])) <= columns
    assert side_by_side([], 80) == []
