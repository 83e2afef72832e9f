"""What a job chooses beyond Ultralytics' arguments, put into its trainer: the metric that makes an epoch the best one, and weights that a new network begins with."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from visionyard.kit.errors import Reason, YardError
from visionyard.training.worker.task_classes import Maker

_log = logging.getLogger(__name__)


def choosing(make_trainer: Maker, best_metric: str, pretrained: str) -> Maker:
    """A trainer class that does what the job chose.

    Args:
        make_trainer: Ultralytics' trainer class.
        best_metric: Ultralytics' key of the metric that chooses ``best.pt`` and stops early; empty for its own choice.
        pretrained: What the model version is called whose file the argument ``pretrained`` names; empty for none.
    """
    if best_metric:
        make_trainer = _by_metric(make_trainer, best_metric)
    return _beginning_with(make_trainer, pretrained) if pretrained else make_trainer


def _by_metric(base: Any, metric: str) -> Maker:
    class ByMetricTrainer(base):  # type: ignore[misc]  # Ultralytics has no types
        """Takes one metric for the fitness; Ultralytics keeps the best one in its checkpoints, so it goes on across resumes."""

        def validate(self) -> tuple[dict[str, Any] | None, float | None]:
            """Validates as Ultralytics does; see BaseTrainer.validate."""
            best: float | None = self.best_fitness  # type: ignore[has-type]  # Ultralytics has no types
            metrics, _ = super().validate()
            if metrics is None:  # one of several processes that does not hold the result
                return None, None
            value = float(metrics[metric])
            fitness = value if math.isfinite(value) else 0.0  # as Ultralytics does with its own
            self.best_fitness = fitness if best is None or best < fitness else best
            return metrics, fitness

    return ByMetricTrainer


def _beginning_with(base: Any, name: str) -> Maker:
    class PretrainedTrainer(base):  # type: ignore[misc]  # Ultralytics has no types
        """Says how much of the weights a new network took over."""

        def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
            """Builds the network as Ultralytics does, which loads what fits.

            Raises:
                YardError: WEIGHTS_DO_NOT_FIT, nothing does.
            """
            given = {} if weights is None else _shapes(weights)
            model = super().get_model(cfg, weights, verbose)
            if weights is not None and not self.resume:
                wanted = _shapes(model)
                fit = sum(given.get(key) == shape for key, shape in wanted.items())
                _log.info("pretrained: took over %d of %d tensors from %s", fit, len(wanted), name)
                if not fit:
                    raise YardError(
                        Reason.WEIGHTS_DO_NOT_FIT,
                        f"no layer of {name} has the name and shape of one of the model's, so there is nothing to begin with: take weights of the same family and size",
                        {"name": name},
                    )
            return model

    return PretrainedTrainer


def _shapes(model: Any) -> dict[str, tuple[int, ...]]:
    """A network's tensors by name; not its counters, which are alike in every network."""
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if tensor.ndim}


def pretrained_argument(weights: Path | None) -> dict[str, str]:
    """Ultralytics' argument for the weights that a new network begins with."""
    return {"pretrained": str(weights)} if weights else {}
