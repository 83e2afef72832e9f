"""The `yard dataset` and `yard storage` commands on a real stack: each gives valid JSON, and each option changes something that can be seen."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from command_tree import covers, refused


def version(document):
    """The version that a command made."""
    return document["import_job"]["dataset_version"]


def splits(made):
    return {split["name"]: int(split["image_count"]) for split in made["splits"]}


def classes(made):
    return {c["name"]: int(c["label_count"]) for c in made["classes"]}


def followed(stack, *words):
    """What a command with --detach begins, followed to its end."""
    queued = stack.json(*words, "--detach")["import_job"]
    assert "dataset_version" not in queued
    assert stack.yard("job", "watch", queued["name"]).returncode == 0
    return version(stack.json("job", "show", queued["name"]))


@covers("dataset import", "--name", "--format", "--split", "--seed", "--detach")
def test_dataset_import(stack, line):
    folder = line["folder"]
    made = line["import"]["import_job"]
    assert made["status"]["state"] == "JOB_STATE_SUCCEEDED"
    assert made["dataset_version"]["name"].endswith("/datasets/tiny/versions/1")
    assert refused(stack, "dataset", "import", folder, "--name", "wrong", "--format", "voc")["code"] == "INVALID_ARGUMENT"
    digests = set()
    for seed in (1, 2):
        drawn = stack.json("dataset", "import", folder, "--name", "drawn", "--split", "0.5,0.25,0.25", "--seed", seed)["import_job"]
        assert drawn["spec"]["split_ratios"] == [0.5, 0.25, 0.25]
        assert {s["name"]: int(s["image_count"]) for s in drawn["dataset_version"]["splits"]}["train"] < 14
        digests.add(drawn["dataset_version"]["digest"])
    assert len(digests) == 2
    queued = stack.json("dataset", "import", folder, "--name", "later", "--detach")["import_job"]
    assert "dataset_version" not in queued
    assert stack.yard("job", "watch", queued["name"]).returncode == 0
    assert stack.json("dataset", "show", "later")["dataset_version"]["digest"] == made["dataset_version"]["digest"]


@covers("dataset list")
def test_dataset_list(stack, line):
    found = stack.json("dataset", "list")
    assert found["next_page_token"] == ""
    assert "projects/default/datasets/tiny" in [d["name"] for d in found["datasets"]]
    assert stack.json("dataset", "list", VISIONYARD_PROJECT="other") == {"datasets": [], "next_page_token": ""}


@covers("dataset show")
def test_dataset_show(stack, line):
    assert stack.json("dataset", "show", "tiny") == stack.json("dataset", "show", "tiny@1")
    assert refused(stack, "dataset", "show", "tiny@9")["reason"] == "DATASET_VERSION_NOT_FOUND"
    text = stack.yard("dataset", "show", "tiny").stdout
    assert "\x1b" not in text
    assert "tiny@1" in text


@covers("dataset show", "--open", "--html", "--split", "--class", "--count", "--seed")
def test_dataset_show_pictures(stack, line, tmp_path):
    page = tmp_path / "pictures.html"
    made = stack.json("dataset", "show", "tiny", "--html", page)
    assert (made["image_count"], made["opened"], made["file"]) == (20, False, str(page))
    whole = page.read_text()
    assert whole.count("data:image/jpeg;base64,") == whole.count("<img") == 20
    assert stack.json("dataset", "show", "tiny", "--html", page, "--split", "val")["image_count"] == 4
    name = max(stack.json("dataset", "show", "tiny")["dataset_version"]["classes"], key=lambda c: int(c["label_count"]))["name"]
    labelled = stack.json("dataset", "show", "tiny", "--html", page, "--class", name)["image_count"]
    assert 0 < labelled == page.read_text().count(f" {name}")
    assert refused(stack, "dataset", "show", "tiny", "--html", page, "--class", "nothing")["reason"] == "INVALID_FIELD"
    drawn = set()
    for seed in (1, 1, 2):
        assert stack.json("dataset", "show", "tiny", "--html", page, "--count", 5, "--seed", seed)["image_count"] == 5
        drawn.add(page.read_text())
    assert len(drawn) == 2
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/opened\n')
    browser.chmod(0o700)
    opened = stack.json("dataset", "show", "tiny", "--open", "--count", 1, BROWSER=f"{browser} %s")
    assert opened["opened"]
    address = (tmp_path / "opened").read_text().strip()
    assert address.removeprefix("file://") == opened["file"].replace("@", "%40")
    shutil.rmtree(Path(opened["file"]).parent)


@covers("dataset report", "--html")
def test_dataset_report(stack, line, tmp_path):
    report = stack.json("dataset", "report", "tiny")["report"]
    assert {"findings", "images", "labels", "dropped_by_code"} <= set(report)
    assert int(report["images"]["found"]) == 20
    page = tmp_path / "report.html"
    made = stack.json("dataset", "report", "tiny", "--html", page)
    assert (made["file"], made["size_bytes"]) == (str(page), page.stat().st_size)
    text = page.read_text()
    assert "tiny@1" in text
    assert all(finding["code"] in text for finding in report["findings"])
    assert "data:image/jpeg;base64," in text
    assert "http" not in text.replace("http-equiv", "")
    assert refused(stack, "dataset", "report", "tiny", "--html", tmp_path / "no" / "folder.html")["reason"] == "INVALID_FIELD"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html"]


@covers("dataset download", "--to")
def test_dataset_download(stack, line, tmp_path):
    found = stack.json("dataset", "download", "tiny", "--to", tmp_path / "set")
    names = yaml.safe_load((tmp_path / "set" / "data.yaml").read_text())["names"]
    assert len(names) == len(stack.json("dataset", "show", "tiny")["dataset_version"]["classes"])
    files = [p for p in (tmp_path / "set").rglob("*") if p.is_file()]
    assert (len(files), sum(p.stat().st_size for p in files)) == (found["file_count"], found["total_bytes"])
    assert stack.json("dataset", "download", "tiny", "--to", tmp_path / "set") == found, "the same command twice does no harm"
    (tmp_path / "set" / "images" / "train" / "old.jpg").touch()
    again = stack.yard("dataset", "download", "tiny", "--to", tmp_path / "set", "--json")
    assert json.loads(again.stdout)["other_file_count"] == 1
    assert "images/train/old.jpg" in again.stderr


@covers("dataset delete", "--dry-run")
@covers("storage show")
@covers("storage collect", "--grace", "--dry-run")
def test_deletion_and_collection(stack, line, tmp_path):
    folder = tmp_path / "own"
    stack.json("sample", folder)
    made = stack.json("dataset", "import", folder, "--name", "own")["import_job"]["dataset_version"]
    used = refused(stack, "dataset", "delete", "tiny")
    assert (used["code"], used["reason"]) == ("FAILED_PRECONDITION", "DATASET_IN_USE")
    assert "projects/default/models/tiny/versions/1" in used["metadata"]["used_by"]
    before = stack.keys()
    for words in (("own",), ("own@1",)):
        planned = stack.json("dataset", "delete", *words, "--dry-run")["deletion"]
        assert planned["versions"] == [made["name"]]
        assert int(planned["freeable_bytes"]) >= int(made["total_bytes"])
    assert stack.keys() == before
    assert stack.json("dataset", "delete", "own")["deletion"] == planned
    assert refused(stack, "dataset", "delete", "own@1")["reason"] == "DATASET_NOT_FOUND"
    shown = stack.json("storage", "show")["storage"]
    unreferenced = {use["kind"]: int(use["unreferenced"]["bytes"]) for use in shown["uses"]}
    own = int(made["stored_bytes"]) * 0.9  # some of its images are the tiny set's too, and the index is not counted here
    assert unreferenced["STORAGE_KIND_SHARDS"] >= own
    assert shown["quota_bytes"] == "0", "the disk is the limit"
    young = stack.json("storage", "collect", "--grace", "12h")["collection"]
    assert (young["freed_bytes"], int(young["young"]["bytes"]) > 0) == ("0", True)
    rehearsed = stack.json("storage", "collect", "--grace", "0s", "--dry-run")["collection"]
    assert int(rehearsed["freed_bytes"]) >= own
    freed = stack.json("storage", "collect", "--grace", "0s")["collection"]
    assert int(freed["freed_bytes"]) >= own
    assert freed["unknown_keys"] == []
    assert stack.json("storage", "collect", "--grace", "0s")["collection"]["freed_bytes"] == "0"
    assert "freed 0 B" in stack.yard("storage", "collect", "--grace", "0s").stdout
    assert "shards" in stack.yard("storage", "show").stdout
    assert stack.yard("storage", "collect", "--grace", "soon").returncode == 2
    kept = stack.json("dataset", "download", "tiny", "--to", tmp_path / "kept")
    assert int(kept["file_count"]) == 1 + 2 * int(line["import"]["import_job"]["dataset_version"]["image_count"])


@covers("dataset import", "--dry-run", "--strict", "--fix", "--task", "--images")
def test_dataset_import_with_care(stack, line, tmp_path):
    source = tmp_path / "doubled"
    shutil.copytree(line["folder"], source)
    label = next(path for path in sorted((source / "labels" / "train").iterdir()) if path.read_text().strip())
    label.write_text(label.read_text() + "0 0.5 0.5 0 0.2\n")
    before = stack.keys()
    looked = stack.json("dataset", "import", source, "--name", "careful", "--dry-run")["import_job"]
    assert "ZERO_AREA_BOX" in {finding["code"] for finding in looked["report"]["findings"]}
    assert "dataset_version" not in looked
    assert not {key for key in stack.keys() - before if "/datasets/" in key or "/shards/" in key}
    assert refused(stack, "dataset", "import", source, "--name", "careful", "--strict")["metadata"]["codes"] == "ZERO_AREA_BOX"
    assert refused(stack, "dataset", "show", "careful")["reason"] == "DATASET_NOT_FOUND"
    twin = next((source / "images" / "train").iterdir())
    shutil.copy(twin, twin.with_name(f"again{twin.suffix}"))
    shutil.copy(source / "labels" / "train" / f"{twin.stem}.txt", source / "labels" / "train" / "again.txt")
    kept = version(stack.json("dataset", "import", source, "--name", "careful"))
    fixed = version(stack.json("dataset", "import", source, "--name", "careful", "--fix"))
    assert int(fixed["image_count"]) == int(kept["image_count"]) - 1
    assert any(finding.get("fixed") for finding in stack.json("dataset", "report", "careful")["report"]["findings"])

    down = tmp_path / "coco"
    stack.json("dataset", "download", "tiny", "--to", down, "--format", "coco")
    annotations, pictures = tmp_path / "alone.json", tmp_path / "pictures"
    shutil.copy(next(down.rglob("*train*.json")), annotations)
    assert refused(stack, "dataset", "import", annotations, "--name", "joined")["reason"] == "NO_IMAGES"
    shutil.copytree(down, pictures, ignore=shutil.ignore_patterns("*.json"))
    joined = version(stack.json("dataset", "import", annotations, "--images", pictures, "--name", "joined", "--task", "segment"))
    assert joined["task"] == "TASK_SEGMENT"
    assert int(joined["label_count"]) == sum(len(p.read_text().splitlines()) for p in (line["folder"] / "labels" / "train").iterdir())


@pytest.fixture(scope="module")
def curated(stack, line):
    """The tiny set once more, as a dataset that gets other versions."""
    return version(stack.json("dataset", "import", line["folder"], "--name", "curated"))


@covers("dataset merge", "--name", "--map", "--detach")
@covers("dataset diff")
@covers("dataset subset", "--size", "--seed", "--detach")
def test_subsets_come_together_again(stack, line, curated):
    whole = curated
    parts = [version(stack.json("dataset", "subset", "curated@1", "--size", 8, "--seed", seed)) for seed in (1, 2)]
    assert [int(part["image_count"]) for part in parts] == [8, 8]
    assert parts[0]["digest"] != parts[1]["digest"]
    names = [f"curated@{part['name'].rpartition('/')[2]}" for part in parts]
    assert followed(stack, "dataset", "subset", "curated@1", "--size", 8, "--seed", 1)["digest"] == parts[0]["digest"]
    merged = version(stack.json("dataset", "merge", "curated@1", *names, "--name", "merged"))
    assert merged["digest"] == whole["digest"], "what they hold is what the whole holds"
    first, second, *_ = classes(whole)
    joined = followed(stack, "dataset", "merge", *names, "--name", "joined-classes", "--map", f"{first}={second}")
    assert first not in classes(joined)
    diff = stack.json("dataset", "diff", "curated@1", names[0])["diff"]
    assert (int(diff["removed"]["image_count"]), int(diff["added"]["image_count"])) == (int(whole["image_count"]) - 8, 0)


@covers("dataset filter", "--classes", "--drop-empty", "--detach")
@covers("dataset remap", "--map", "--single-class", "--detach")
def test_classes_are_chosen_and_renamed(stack, line, curated):
    whole = classes(curated)
    name = max(whole, key=whole.get)
    filtered = version(stack.json("dataset", "filter", "curated@1", "--classes", name))
    assert classes(filtered) == {name: whole[name]}
    assert int(filtered["image_count"]) == 20
    with_labels = version(stack.json("dataset", "filter", "curated@1", "--classes", ",".join(whole), "--drop-empty"))
    full = followed(stack, "dataset", "filter", "curated@1", "--drop-empty")
    assert full["digest"] == with_labels["digest"]
    labelled = [p for p in (line["folder"] / "labels").rglob("*.txt") if p.read_text().strip()]
    assert int(full["image_count"]) == len(labelled)
    assert refused(stack, "dataset", "filter", "curated@1", "--classes", "zebra")["reason"] == "VERSIONS_MISMATCH"
    renamed = version(stack.json("dataset", "remap", "curated@1", "--map", f"{name}=thing"))
    assert classes(renamed)["thing"] == whole[name]
    single = followed(stack, "dataset", "remap", "curated@1", "--single-class", "object")
    assert classes(single) == {"object": sum(whole.values())}


@covers("dataset split", "--ratios", "--seed", "--group-by", "--detach")
def test_splits_are_drawn_anew(stack, line, curated):
    drawn = [version(stack.json("dataset", "split", "curated@1", "--ratios", "0.5,0.25,0.25", "--seed", seed)) for seed in (1, 2)]
    assert [splits(made) for made in drawn] == [{"train": 10, "val": 5, "test": 5}] * 2
    assert drawn[0]["digest"] != drawn[1]["digest"]
    grouped = followed(stack, "dataset", "split", "curated@1", "--ratios", "0.5,0.5", "--group-by", r"(\d)\.")
    number = grouped["name"].rpartition("/")[2]
    assert set(splits(grouped)) == {"train", "val"}
    report = stack.json("dataset", "report", f"curated@{number}")["report"]
    assert "kept together by their names" in report["split_reason"]


@covers("dataset append", "--format", "--images", "--split", "--seed", "--from-predictions", "--detach")
@covers("dataset download", "--format", "--uncertain")
def test_images_and_predictions_are_added(stack, line, small_deployment, tmp_path):
    stack.json("dataset", "import", line["folder"], "--name", "grown")
    more = tmp_path / "more"
    stack.json("sample", more)
    label = next(path for path in sorted((more / "labels" / "train").iterdir()) if path.read_text().strip())
    for old in [path for path in more.rglob("*") if path.is_file() and path.stem != label.stem and path.name != "data.yaml"]:
        old.unlink()
    picture = next((more / "images" / "train").iterdir())
    picture.write_bytes(picture.read_bytes() + b"\xff\xd9")  # other bytes, the same picture
    appended = version(stack.json("dataset", "append", "grown", more, "--format", "yolo"))
    assert int(appended["image_count"]) == 21
    assert int(appended["stored_bytes"]) < int(version(line["import"])["stored_bytes"])
    assert refused(stack, "dataset", "append", "grown", more, "--format", "coco")["code"] == "INVALID_ARGUMENT"
    drawn = [followed(stack, "dataset", "append", "grown", line["folder"], "--split", "0.5,0.25,0.25", "--seed", seed) for seed in (1, 2)]
    assert [int(made["image_count"]) for made in drawn] == [21, 21]

    down = tmp_path / "voc"
    stack.json("dataset", "download", "grown", "--to", down, "--format", "voc")
    annotations = tmp_path / "annotations"
    annotations.mkdir()
    for file in down.rglob("*.xml"):
        shutil.copy(file, annotations)
    pictures = tmp_path / "pictures"
    shutil.copytree(down, pictures, ignore=shutil.ignore_patterns("*.xml", "*.txt"))
    joined = version(stack.json("dataset", "append", "grown", annotations, "--images", pictures))
    assert int(joined["image_count"]) == 21

    other = tmp_path / "other.jpg"
    other.write_bytes(picture.read_bytes() + b"\xff\xd9\xff\xd9")
    answers = stack.yard("predict", small_deployment, other, "--conf", "0.0001", "--json").stdout
    seen = tmp_path / "seen.jsonl"
    seen.write_text(answers)
    predicted = version(stack.json("dataset", "append", "grown", "--from-predictions", seen))
    assert int(predicted["label_count"]) > int(joined["label_count"])
    review = tmp_path / "review"
    found = stack.json("dataset", "download", "grown", "--to", review, "--format", "cvat", "--uncertain", 1)
    assert int(found["file_count"]) > 0
    assert len([p for p in review.rglob("*") if p.suffix in {".jpg", ".png"}]) == 1


@covers("dataset publish", "--detach")
def test_a_version_is_published(stack, line):
    made = version(stack.json("dataset", "publish", "tiny@1"))
    assert made["name"].startswith("projects/shared/datasets/tiny/versions/")
    assert made["digest"] == version(line["import"])["digest"]
    assert stack.json("dataset", "show", "shared/tiny", VISIONYARD_PROJECT="other")["dataset_version"]["digest"] == made["digest"]
    assert followed(stack, "dataset", "publish", "tiny@1")["digest"] == made["digest"]
