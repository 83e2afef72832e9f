"""Label Studio's tasks: what a value of an export is, which of a task's annotations count, and which picture it is about.

Read are the JSON export (https://labelstud.io/guide/export#Label-Studio-JSON-format-of-annotated-tasks), also with ``completions`` as before version 1.0; JSON-MIN, a
record an annotation; and what a target storage is given, an annotation that holds its task.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from visionyard.dataset.formats.json_stream import as_number
from visionyard.dataset.formats.label_studio_config import LabelConfig
from visionyard.dataset.formats.label_studio_regions import plain, score_of
from visionyard.dataset.formats.matching import written_path
from visionyard.dataset.images import IMAGE_SUFFIXES, UNREAD_SUFFIXES
from visionyard.dataset.source import suffix_of

OUR_PREDICTIONS = "visionyard"
"""The ``model_version`` of predictions that stand beside annotations because we wrote both: labels that nobody has confirmed."""
_ANNOTATIONS = ("annotations", "completions")
_IMAGE_KEYS = ("image", "img", "picture", "photo", "url")
_MIN_MARKS = frozenset({"annotation_id", "annotator", "lead_time"})
_MIN_ENDS = frozenset({"annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement", "history"})


@dataclass(slots=True)
class Task:
    """A task.

    Attributes:
        id: As written, for messages; empty where there is none.
        data: What it is about.
        annotations: In the order of the file; what is no object is left as it is.
        drafts: Annotations that were never submitted.
        predictions: Of models.
        upload: The name of the uploaded file; empty where there is none.
    """

    id: str
    data: dict[str, Any]
    annotations: list[Any] = field(default_factory=list)
    drafts: list[Any] = field(default_factory=list)
    predictions: list[Any] = field(default_factory=list)
    upload: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """An annotation, draft or prediction of a task.

    Attributes:
        result: Its items.
        refused: Why its labels do not count, the end of a sentence about one of them; empty where they do.
        predicted: Whether nobody has confirmed it.
        score: Of a prediction as a whole, 0 to 1; 0 where it does not say.
    """

    result: list[Any]
    refused: str = ""
    predicted: bool = False
    score: float = 0.0


def is_task(value: object) -> bool:
    """Whether a value of a JSON file is a task, a record of JSON-MIN or a stored annotation; ``value`` may be only the beginning of it."""
    if not isinstance(value, dict):
        return False
    parts = [part for key in (*_ANNOTATIONS, "predictions") for part in _list(value.get(key))]
    if any(isinstance(part, dict) and isinstance(part.get("result"), list) for part in parts):
        return True
    if isinstance(value.get("data"), dict) and any(isinstance(value.get(key), list) for key in (*_ANNOTATIONS, "predictions")):
        return bool(image_key(value["data"]))
    if isinstance(value.get("task"), dict) and isinstance(value.get("result"), list):
        return isinstance(value["task"].get("data"), dict)
    return is_record(value)


def is_record(value: dict[str, Any]) -> bool:
    """Whether a value is a record of JSON-MIN: the picture beside regions that say how large it is, or beside who answered."""
    regions = (item for answer in value.values() for item in _list(answer)[:1])
    sized = any(isinstance(item, dict) and "original_width" in item for item in regions)
    return bool(image_key(value)) and (sized or len(_MIN_MARKS & value.keys()) > 1)


def task_of(value: object) -> Task | None:
    """The task that a value is; None where it is none."""
    if not isinstance(value, dict):
        return None
    if isinstance(value.get("data"), dict):
        annotations = [part for key in _ANNOTATIONS for part in _list(value.get(key))]
        drafts, predictions = _list(value.get("drafts")), _list(value.get("predictions"))
        return Task(_id(value), value["data"], annotations, drafts, predictions, plain(value.get("file_upload")))
    task = value.get("task")
    if isinstance(task, dict) and isinstance(task.get("data"), dict):
        return Task(_id(task), task["data"], [value], upload=plain(task.get("file_upload")))
    return _task_of_record(value) if is_record(value) else None


def _task_of_record(record: dict[str, Any]) -> Task:
    """A record of JSON-MIN as a task: first comes the task's data, then ``id``, then an answer a control, then who gave it."""
    data: dict[str, Any] = {}
    result: list[Any] = []
    begun = "id" not in record
    for key, answer in record.items():
        if key in _MIN_ENDS:
            continue
        regions = [item for item in _list(answer) if isinstance(item, dict)]
        if key == "id":
            begun = True
        elif regions:
            result += [{"value": region, "from_name": key} for region in regions]
        elif isinstance(answer, dict) and isinstance(answer.get("choices"), list):
            result.append({"type": "choices", "from_name": key, "value": answer})
        elif begun and "id" in record and isinstance(answer, str):
            result.append({"type": "choices", "from_name": key, "value": {"choices": [answer]}})
        else:
            data[key] = answer
    return Task(_id(record), data, [{**{key: record[key] for key in _MIN_ENDS & record.keys()}, "result": result}])


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _id(value: Mapping[str, Any]) -> str:
    number = as_number(value.get("id"))
    return f"{number:.0f}" if number is not None else plain(value.get("id"))


def parts_of(task: Task) -> Iterator[Part]:
    """A task's annotations, drafts and predictions, which of them count, and why the others do not.

    Of several annotators' work the ground truth counts, else what was changed last; never what was skipped. Predictions count where there is no annotation (as labels that
    nobody has confirmed), and beside an annotation that nobody has worked on in Label Studio since we wrote both.
    """
    whole = [part for part in task.annotations if isinstance(part, dict)]
    open_ = [i for i, part in enumerate(whole) if not part.get("was_cancelled") and not part.get("skipped")]
    taken = max(open_, key=lambda i: (whole[i].get("ground_truth") is True, _time(whole[i]), i), default=None)
    for i, part in enumerate(whole):
        if i == taken:
            yield Part(_list(part.get("result")))
        else:
            why = "is part of another annotation of the task, which was not taken" if i in open_ else "is part of a skipped annotation"
            yield Part(_list(part.get("result")), why)
    for part in task.annotations:
        if not isinstance(part, dict):
            yield Part([part])
    for part in task.drafts:
        yield Part(_list(part.get("result")) if isinstance(part, dict) else [part], "is part of a draft that was never submitted")
    yield from _predictions(task, whole[taken] if taken is not None else None, skipped=bool(whole) and taken is None)


def is_annotated(task: Task) -> bool:
    """Whether a person has said what is to be seen, if only that it is nothing."""
    return any(isinstance(part, dict) and not part.get("was_cancelled") and not part.get("skipped") for part in task.annotations)


def _predictions(task: Task, annotation: dict[str, Any] | None, *, skipped: bool) -> Iterator[Part]:
    whole = [part for part in task.predictions if isinstance(part, dict)]
    worked_on = annotation is not None and bool(as_number(annotation.get("lead_time")))
    allowed = [
        i
        for i, part in enumerate(whole)
        if not skipped and (annotation is None or (part.get("model_version") == OUR_PREDICTIONS and not worked_on))
    ]
    taken = max(allowed, key=lambda i: (_time(whole[i]), i), default=None)
    for i, part in enumerate(whole):
        why = "" if i == taken else "is part of a prediction beside what counts"
        yield Part(_list(part.get("result")), why, predicted=True, score=score_of(part) or 0.0)
    for part in task.predictions:
        if not isinstance(part, dict):
            yield Part([part])


def _time(part: dict[str, Any]) -> str:
    """When it was changed, as a text that sorts: ISO 8601 now, seconds since 1970 before version 1.0."""
    for key in ("updated_at", "created_at"):
        number = as_number(part.get(key))
        if number is not None:
            return f"{number:020.3f}"
        if text := plain(part.get(key)):
            return text
    return ""


def image_key(data: Mapping[str, Any]) -> str:
    """The member of a task's data that is its picture, where no labelling interface tells; empty where none seems to be.

    The first that is called ``image``, or else that names a file of an image type, or else that is called ``url`` or alike.
    """
    texts = {key: value for key, value in data.items() if (names := _names(value)) and names[0]}
    if "image" in texts:
        return "image"
    for key, value in texts.items():
        if suffix_of(written_path(_names(value)[0])) in IMAGE_SUFFIXES | UNREAD_SUFFIXES:
            return key
    return next((key for key in _IMAGE_KEYS if key in texts), "")


def _names(value: object) -> list[str]:
    """A picture's name, or those of a task with several pages."""
    values = value if isinstance(value, list) else [value]
    return [plain_name(name) for name in values if isinstance(name, str)]


def plain_name(name: str) -> str:
    """A picture's name as it can be stored; empty for one whose bytes are written into the task."""
    return "" if name[:5].lower() == "data:" else name[:4096].encode("utf-8", "replace").decode()


class Pictures:
    """The pictures of one task.

    Args:
        task: The task.
        config: The project's labelling interface.
    """

    def __init__(self, task: Task, config: LabelConfig) -> None:
        default = image_key(task.data) or _only_text(task.data)
        tags = {tag: key for tag, key in config.images.items() if _names(task.data.get(key))}
        if not tags and default:
            tags = {"": default}
        self._tags = {tag: _names(task.data.get(key)) for tag, key in tags.items()}
        self._data = task.data

    def all(self) -> list[str]:
        """Their names; none where the task names none."""
        return list(dict.fromkeys(name for names in self._tags.values() for name in names if name))

    def of(self, tag: str, page: int) -> str:
        """The one that a region was drawn on; empty where the task names none.

        Args:
            tag: The region's ``to_name``.
            page: Its ``item_index``.
        """
        names = self._tags.get(tag) or _names(self._data.get(tag)) or next(iter(self._tags.values()), [])
        return names[page] if page < len(names) else next(iter(names), "")


def _only_text(data: Mapping[str, Any]) -> str:
    texts = [key for key, value in data.items() if isinstance(value, str) and key != "split"]
    return texts[0] if len(texts) == 1 else ""
