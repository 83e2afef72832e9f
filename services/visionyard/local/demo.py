"""`make run`: the whole line on one machine, driven with the `yard` command as a user would: ``python -m visionyard.local.demo``.

Its stack lives in .visionyard/ of the checkout on free ports. Killed and run again with the same arguments it goes on where it was: what it has finished is
noted in .visionyard/demo.json, and what was under way `yard` itself takes up again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from visionyard.local import sample
from visionyard.local.state import read_json, write_atomically

STATE_DIR = Path(".visionyard")
OUTPUT_DIR = Path("run")
SAMPLE_RECIPE = (
    *("nbs=8", "optimizer=AdamW", "lr0=0.003", "warmup_epochs=1", "mosaic=0", "amp=False", "plots=False"),
    *("workers=0", "close_mosaic=0"),
)
"""Ultralytics' defaults accumulate 64 images a step: on a set this small a model would never leave zero."""
SAMPLE_IMAGES, SAMPLE_EPOCHS, SAMPLE_IMAGE_SIZE, SAMPLE_BATCH = 160, 16, 128, 8
DATA_EPOCHS = 10
UNSEEN_IMAGES, UNSEEN_SEED = 10, 1
LEARNED_MAP50 = 0.5
MAX_PICTURES = 12
MAP50, MAP50_95 = "metrics/mAP50(B)", "metrics/mAP50-95(B)"
STEPS = ("start", "sample", "import", "train", "export", "deploy", "predict")
_SHOW_CURSOR = "\x1b[?25h\n"
"""ECMA-48's DECTCEM, as rich writes it."""
_PICTURES = {".jpg", ".jpeg", ".png"}


class StepFailed(Exception):
    """A step of the line failed; the message is what `yard` said."""


@dataclass
class Line:
    """The run under way.

    Attributes:
        arguments: What it was asked for; another question begins anew.
        yard: The command.
        steps: Name, seconds and result of each finished step, in order.
    """

    arguments: dict[str, Any]
    yard: Path
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def in_order(self) -> dict[str, dict[str, Any]]:
        """The finished steps in the line's order: a run that was taken up again started the stack last."""
        return {name: self.steps[name] for name in STEPS if name in self.steps}

    @property
    def _notes(self) -> Path:
        return STATE_DIR / "demo.json"

    def recall(self) -> None:
        """Takes over what an interrupted run with the same arguments has finished."""
        known = read_json(self._notes)
        if known and known.get("arguments") == self.arguments and isinstance(known.get("steps"), dict):
            self.steps = known["steps"]

    def forget(self) -> None:
        """Makes the next run begin anew."""
        self._notes.unlink(missing_ok=True)

    def step(self, name: str, what: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Does a step unless it was done before, and notes its time and result.

        Raises:
            StepFailed: it failed.
        """
        if name in self.steps:
            _say(f"{name}: done before, {self.steps[name]['told']}")
            return dict(self.steps[name]["result"])
        _say(f"{name}: {what}")
        began = time.monotonic()
        result = work()
        self.steps[name] = {"seconds": round(time.monotonic() - began, 1), "told": str(result.pop("told", "")), "result": result}
        write_atomically(self._notes, json.dumps({"arguments": self.arguments, "steps": self.steps}) + "\n")
        return result

    def call(self, *words: object) -> list[dict[str, Any]]:
        """Runs ``yard … --json``; its messages go to stderr as they come. The documents that it printed.

        Raises:
            StepFailed: it exited with something else than 0.
        """
        command = [str(self.yard), *map(str, words), "--dir", str(STATE_DIR), "--json"]
        # In a session of its own, so that a Ctrl-C is this process's alone: `yard` would take it for the end of its request, and the same
        # command would begin another job. Killed, it leaves the request open, and the next run joins the job.
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
            try:
                printed, _ = child.communicate()
            except BaseException:
                child.kill()
                if sys.stderr.isatty():
                    sys.stderr.write(_SHOW_CURSOR)  # which its progress bar had hidden
                raise
        if child.returncode:
            raise StepFailed(f"yard {' '.join(map(str, words[:2]))} exited with {child.returncode}")
        return [json.loads(line) for line in printed.splitlines()] if "predict" in words[:1] else [json.loads(printed)]


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def _short(name: str) -> str:
    """``projects/p/datasets/d/versions/3`` as `yard` takes it: ``d@3``."""
    parts = name.split("/")
    return f"{parts[3]}@{parts[5]}"


def _make_sample(folder: Path, images: int, seed: int) -> Path:
    """A sample; one that was only half written is made anew."""
    if not (folder / "data.yaml").is_file():  # written last
        shutil.rmtree(folder, ignore_errors=True)
        sample.generate(folder, images, seed)
    return folder


def _import(line: Line, data: Path, name: str) -> dict[str, Any]:
    document = line.call("dataset", "import", data, "--name", name)[0]
    version = document.get("import_job", document)["dataset_version"]
    splits = {split["name"]: int(split["image_count"]) for split in version["splits"]}
    images, labels = int(version["image_count"]), int(version["label_count"])
    told = f"{images} images, {labels} boxes ({', '.join(f'{k} {v}' for k, v in splits.items())})"
    return {"version": version["name"], "image_count": images, "label_count": labels, "splits": splits, "told": told}


def _train(line: Line, dataset: str, name: str, options: Sequence[object]) -> dict[str, Any]:
    document = line.call("train", dataset, "--name", name, *options)[0]
    job = document.get("training_job", document)
    shown = line.call("model", "show", _short(job["model_version"]))[0]
    metrics = shown.get("model_version", shown)["metrics"]
    found = {"mAP50": float(metrics[MAP50]), "mAP50_95": float(metrics[MAP50_95])}
    return {
        "job": job["name"],
        "version": job["model_version"],
        **found,
        "told": f"mAP50 {found['mAP50']:.3f}, mAP50-95 {found['mAP50_95']:.3f}",
    }


def _export(line: Line, model: str) -> dict[str, Any]:
    document = line.call("export", model, "--format", "onnx")[0]
    artifact = document.get("export_job", document)["artifact"]
    return {
        "artifact": artifact["name"],
        "size_bytes": int(artifact["size_bytes"]),
        "told": f"ONNX, {int(artifact['size_bytes']) / 1e6:.1f} MB",
    }


def _deploy(line: Line, model: str, name: str) -> dict[str, Any]:
    document = line.call("deploy", model, "--name", name)[0]
    deployment = document.get("deployment", document)
    return {"deployment": deployment["name"], "served_version": deployment["served_version"], "told": f"served as {name}"}


def _unseen(line: Line, dataset: str, splits: Mapping[str, int]) -> list[Path]:
    """Pictures of the test split, or of val where there is none, downloaded from the dataset service."""
    folder = STATE_DIR / "unseen"
    shutil.rmtree(folder, ignore_errors=True)
    line.call("dataset", "download", dataset, "--to", folder)
    split = "test" if splits.get("test") else "val"
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in _PICTURES and split in p.relative_to(folder).parts)
    return found[:: max(1, len(found) // MAX_PICTURES)][:MAX_PICTURES]


def _predict(line: Line, name: str, pictures: Sequence[Path]) -> dict[str, Any]:
    output = OUTPUT_DIR / "predictions"
    shutil.rmtree(output, ignore_errors=True)
    answers = line.call("predict", name, *pictures, "--save", output)
    failed = [answer for answer in answers if "error" in answer]
    if failed:
        raise StepFailed(f"{failed[0]['image']}: {failed[0]['error'].get('message', failed[0]['error'])}")
    found = [{"image": answer["image"], "boxes": len(answer["prediction"]["detection"]["detections"])} for answer in answers]
    total = sum(item["boxes"] for item in found)
    return {"pictures": found, "told": f"{len(found)} pictures, {total} boxes, drawn in {output}/"}


def run_line(line: Line, options: argparse.Namespace) -> None:
    """All steps.

    Raises:
        StepFailed: one failed.
    """
    own = options.data is None
    name = "sample" if own else "data"
    line.step("start", "the stack: store, Triton and the four services", lambda: _start(line))
    data = options.data
    if own:
        data = STATE_DIR / "sample"
        line.step("sample", f"{SAMPLE_IMAGES} generated pictures", lambda: _sample(data))
    dataset = line.step("import", f"{data}", lambda: _import(line, data, name))
    words: list[object] = ["--model", options.model, "--epochs", options.epochs or (SAMPLE_EPOCHS if own else DATA_EPOCHS)]
    size = options.imgsz or (SAMPLE_IMAGE_SIZE if own else None)
    words += ["--imgsz", size] if size else []
    words += ["--batch", SAMPLE_BATCH] if own else []
    words += [word for setting in SAMPLE_RECIPE for word in ("--set", setting)] if own else []
    trained = line.step("train", options.model, lambda: _train(line, _short(dataset["version"]), name, words))
    model = _short(trained["version"])
    line.step("export", f"{model} to ONNX, compared with its source", lambda: _export(line, model))
    line.step("deploy", f"{model} on Triton", lambda: _deploy(line, model, name))
    if own:
        pictures = sorted((_make_sample(STATE_DIR / "unseen-sample", UNSEEN_IMAGES, UNSEEN_SEED) / "images").rglob("*.jpg"))
    else:
        pictures = _unseen(line, _short(dataset["version"]), dataset["splits"])
    line.step("predict", f"{len(pictures)} pictures that training has not seen", lambda: _predict(line, name, pictures))


def _start(line: Line) -> dict[str, Any]:
    document = line.call("up", "--detach", "--any-port")[0]
    return {"told": f"{len(document.get('processes', []))} processes"}


def _sample(folder: Path) -> dict[str, Any]:
    _make_sample(folder, SAMPLE_IMAGES, seed=0)
    return {"told": ", ".join(sample.CLASSES)}


def write_summary(line: Line, error: str | None) -> None:
    """run/summary.json."""
    results = {name: step["result"] for name, step in line.in_order.items()}
    summary = {
        "arguments": line.arguments,
        "steps": [{"name": name, "seconds": step["seconds"], "result": step["told"]} for name, step in line.in_order.items()],
        "seconds": round(sum(step["seconds"] for step in line.steps.values()), 1),
        "dataset": results.get("import"),
        "model": results.get("train"),
        "artifact": results.get("export"),
        "deployment": results.get("deploy"),
        "pictures": results.get("predict", {}).get("pictures", []),
        "error": error,
    }
    OUTPUT_DIR.mkdir(exist_ok=True)
    write_atomically(OUTPUT_DIR / "summary.json", json.dumps(summary, indent=2) + "\n")


def table(line: Line) -> str:
    """The steps with their times."""
    rows = [(name, f"{step['seconds']:.1f} s", step["told"]) for name, step in line.in_order.items()]
    rows.append(("in all", f"{sum(step['seconds'] for step in line.steps.values()):.1f} s", ""))
    return "\n".join(f"{name:<9}{seconds:>9}  {told}".rstrip() for name, seconds, told in rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the line; 0 done, 1 a step failed or the sample was not learned, 130 interrupted."""
    parser = argparse.ArgumentParser(prog="make run", description="The whole line: import, train, export, deploy, predict.")
    parser.add_argument("--data", type=Path, help="a labelled folder or archive; default: a generated sample")
    parser.add_argument("--model", default="yolov8n.yaml", help="what `yard train --model` takes")
    parser.add_argument("--epochs", type=int, help=f"default: {SAMPLE_EPOCHS} on the sample, {DATA_EPOCHS} on your data")
    parser.add_argument(
        "--imgsz", type=int, help=f"side of the training images; default: {SAMPLE_IMAGE_SIZE} on the sample, Ultralytics' 640 on your data"
    )
    options = parser.parse_args(arguments)
    STATE_DIR.mkdir(exist_ok=True, mode=0o700)
    line = Line(
        {name: None if value is None else str(value) for name, value in vars(options).items()}, Path(sys.executable).parent / "yard"
    )
    line.recall()
    line.steps.pop("start", None)  # the stack is not left running between two runs
    error: str | None = None
    try:
        run_line(line, options)
    except StepFailed as failure:
        error = str(failure)
    except KeyboardInterrupt:
        _say("interrupted; the same command goes on from here")
        line.call("down")
        return 130
    return _finish(line, error, own=options.data is None)


def _finish(line: Line, error: str | None, *, own: bool) -> int:
    line.forget()
    try:
        line.call("down")
    except StepFailed as failure:
        error = error or str(failure)
    map50 = line.steps.get("train", {}).get("result", {}).get("mAP50")
    if error is None and own and (map50 is None or map50 < LEARNED_MAP50):
        error = f"the sample was not learned: mAP50 {map50} is below {LEARNED_MAP50}"
    write_summary(line, error)
    sys.stdout.write(table(line) + "\n")
    if error is not None:
        _say(f"failed: {error}")
        return 1
    _say(f"pictures with boxes: {OUTPUT_DIR}/predictions/; figures: {OUTPUT_DIR}/summary.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
