"""What a worker sets before it imports Ultralytics: offline, without telemetry, without installing anything, opening weights safely.

Ultralytics 8.4 reads these variables and its settings file when it is imported (``ultralytics/utils/__init__.py``, ``ultralytics/nn/tasks.py``),
so a worker calls :func:`prepare` first. Nothing here imports torch or ultralytics.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

_SETTINGS_VERSION = "0.0.8"
_FONTS = ("Arial.ttf", "Arial.Unicode.ttf")


def offline_environment(config_dir: Path) -> dict[str, str]:
    """The environment variables for a process that uses Ultralytics, also for its children (``torchrun``).

    Args:
        config_dir: A private directory that :func:`prepare` has filled; absolute.
    """
    return {
        "YOLO_OFFLINE": "1",
        "YOLO_AUTOINSTALL": "0",
        # Weights are opened with torch's weights_only unpickler and Ultralytics' allow-list: no code in a .pt is run.
        "ULTRALYTICS_SAFE_LOAD": "1",
        "YOLO_CONFIG_DIR": str(config_dir),
        "MPLCONFIGDIR": str(config_dir / "matplotlib"),
        "NO_ALBUMENTATIONS_UPDATE": "1",
        "WANDB_MODE": "disabled",
        "HF_HUB_OFFLINE": "1",  # NVIDIA ModelOpt, which trains for INT8, imports huggingface_hub
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }


def prepare(config_dir: Path, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Fills ``config_dir`` with settings and fonts and sets this process's environment.

    Args:
        config_dir: A directory of this job's own, made if missing; absolute.
        environment: Variables to set besides (they win), such as ``OMP_NUM_THREADS``.

    Returns:
        All variables that were set, to hand to child processes.

    Raises:
        RuntimeError: ultralytics was imported already, too late for any of this.
        ValueError: ``config_dir`` is not absolute.
    """
    if "ultralytics" in sys.modules:
        raise RuntimeError("ultralytics is imported already, so its environment can no longer be set")
    if not config_dir.is_absolute():
        raise ValueError(f"{config_dir} is not absolute")
    home = config_dir / "Ultralytics"
    for folder in (home, config_dir / "matplotlib", config_dir / "weights", config_dir / "datasets", config_dir / "runs"):
        folder.mkdir(parents=True, exist_ok=True)
    (home / "settings.json").write_text(json.dumps(_settings(config_dir)))
    _place_fonts(home)
    variables = offline_environment(config_dir) | dict(environment or {})
    os.environ.update(variables)
    return variables


def _settings(config_dir: Path) -> dict[str, str | bool]:
    """Every key of Ultralytics' settings (it resets a file that lacks one), with each integration off."""
    return {
        "settings_version": _SETTINGS_VERSION,
        "datasets_dir": str(config_dir / "datasets"),
        "weights_dir": str(config_dir / "weights"),
        "runs_dir": str(config_dir / "runs"),
        "uuid": "0" * 64,
        "sync": False,
        "api_key": "",
        "openai_api_key": "",
        "clearml": False,
        "comet": False,
        "dvc": False,
        "mlflow": False,
        "raytune": False,
        "tensorboard": False,
        "wandb": False,
        "vscode_msg": False,
        "openvino_msg": False,
    }


def _place_fonts(home: Path) -> None:
    """Puts a font where Ultralytics looks for Arial before it tries to download it; matplotlib, which it needs anyway, brings DejaVu Sans."""
    spec = importlib.util.find_spec("matplotlib")
    if spec is None or spec.origin is None:
        return
    source = Path(spec.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    for name in _FONTS:
        if source.is_file() and not (home / name).exists():
            shutil.copyfile(source, home / name)
