"""What a training may choose, and how far its choices go together; and how they get into Ultralytics' trainers."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from visionyard.kit.errors import Reason, YardError
from visionyard.training.spec import TrainingSpec, check_spec
from visionyard.training.worker.choices import choosing


def spec(**said):
    return TrainingSpec("projects/default/datasets/d/versions/1", "projects/default/models/m", **{"architecture": "yolov8n.yaml", **said})


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"architecture": "", "model_version": "projects/p/models/m/versions/1", "pretrained_model_version": "x"}, "has them already"),
        ({"pretrained_model_version": "x", "overrides": {"pretrained": False}}, "leave one out"),
        ({"best_metric": "train/box_loss"}, "is no metric of any task"),
        ({"best_metric": "map50"}, "did you mean mAP50"),
        ({"best_metric": "mAP50", "overrides": {"val": False}}, "leave val=false out"),
    ],
)
def test_choices_that_do_not_go_together_are_refused(table, said, told):
    with pytest.raises(YardError, match=told) as refused:
        check_spec(spec(**said), table)
    assert refused.value.reason is Reason.INVALID_FIELD


def test_what_is_not_installed_is_refused_with_its_name(table):
    bare = replace(table, tensorboard=False, quantization=False)
    with pytest.raises(YardError, match="the package tensorboard"):
        check_spec(spec(tensorboard=True), bare)
    for value in (8, "int8"):
        with pytest.raises(YardError, match="nvidia-modelopt") as refused:
            check_spec(spec(overrides={"quantize": value}), bare)
        assert refused.value.reason is Reason.INVALID_ARGUMENT_VALUE
    for given in (spec(tensorboard=True), spec(overrides={"quantize": 8})):
        check_spec(given, table)


class Trainer:
    """As much of Ultralytics' BaseTrainer as is built upon."""

    def __init__(self, metrics=()):
        self.best_fitness = None
        self.left = list(metrics)
        self.resume = False

    def validate(self):
        metrics = self.left.pop(0)
        if metrics is not None and (self.best_fitness is None or self.best_fitness < 0.5):
            self.best_fitness = 0.5  # by its own fitness
        return metrics, 0.5

    def get_model(self, cfg=None, weights=None, verbose=True):
        return cfg


def test_the_chosen_metric_is_the_fitness_and_goes_on_from_a_checkpoint():
    values = [{"m": 0.2}, {"m": 0.7}, {"m": float("nan")}, None]
    trainer = choosing(Trainer, "m", "")(values)
    assert [(trainer.validate()[1], trainer.best_fitness) for _ in range(4)] == [(0.2, 0.2), (0.7, 0.7), (0.0, 0.7), (None, 0.7)]
    resumed = choosing(Trainer, "m", "")([{"m": 0.6}])
    resumed.best_fitness = 0.7
    assert (resumed.validate()[1], resumed.best_fitness) == (0.6, 0.7)


def network(*shapes):
    state = {f"model.{index}.weight": torch.zeros(shape) for index, shape in enumerate(shapes)}
    state["model.0.bn.num_batches_tracked"] = torch.tensor(0)
    return SimpleNamespace(state_dict=lambda: state)


def test_how_much_fits_is_logged_and_nothing_is_refused(caplog):
    caplog.set_level("INFO")
    trainer = choosing(Trainer, "", "projects/p/models/m/versions/1")()
    trainer.get_model(network((4, 3), (8, 4), (2, 8)), network((4, 3), (8, 4), (5, 8)))
    assert "took over 2 of 3 tensors from projects/p/models/m/versions/1" in caplog.text
    with pytest.raises(YardError) as refused:
        trainer.get_model(network((4, 3)), network((5, 3)))
    assert refused.value.reason is Reason.WEIGHTS_DO_NOT_FIT
    trainer.resume = True
    trainer.get_model(network((4, 3)), network((5, 3)))
