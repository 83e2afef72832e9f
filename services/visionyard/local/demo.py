"""`make run`: the whole line on one machine, driven with the `yard` command as a user would: ``python -m visionyard.local.demo``.

Its stack lives in .visionyard/ of the checkout on free ports. Killed and run again with the same arguments it goes on where it was: what it has finished is
noted in .visionyard/demo.json, and what was under way `yard` itself takes up again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from visionyard.local import sample
from visionyard.local.demo_steps import STATE_DIR, Line, StepFailed, say
from visionyard.local.state import write_atomically

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
MAX_PICTURES, MAX_FINDINGS = 12, 10
MAP50, MAP50_95 = "metrics/mAP50(B)", "metrics/mAP50-95(B)"
_PICTURES = {".jpg", ".jpeg", ".png"}


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
    job = line.call("dataset", "import", data, "--name", name)[0]["import_job"]
    version, report = job["dataset_version"], job["report"]
    splits = {split["name"]: int(split["image_count"]) for split in version["splits"]}
    images, labels = int(version["image_count"]), int(version["label_count"])
    dropped = {code: int(count) for code, count in sorted(report["dropped_by_code"].items())}
    of_all = f"{labels} of {labels + sum(dropped.values())}" if dropped else f"{labels}"
    findings = _findings(report)
    return {
        "version": version["name"],
        "image_count": images,
        "label_count": labels,
        "splits": splits,
        "dropped_by_code": dropped,
        "findings": findings,
        "told": f"{images} images, {of_all} boxes ({', '.join(f'{k} {v}' for k, v in splits.items())})",
    }


def _findings(report: Mapping[str, Any]) -> list[str]:
    """What was dropped or is wrong, by file and line: the first ones are told and given back."""
    grave = [found for found in report["findings"] if found["severity"] != "SEVERITY_INFO"]
    # Most messages begin with the place already.
    told = [m if (m := found["message"]).startswith(found["file"]) else f"{found['file']}: {m}" for found in grave[:MAX_FINDINGS]]
    for sentence in told:
        say(f"  {sentence}")
    if len(grave) > len(told):
        say(f"  and {len(grave) - len(told)} more")
    return told


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
        say("interrupted; the same command goes on from here")
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
        say(f"failed: {error}")
        return 1
    say(f"pictures with boxes: {OUTPUT_DIR}/predictions/; figures: {OUTPUT_DIR}/summary.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
