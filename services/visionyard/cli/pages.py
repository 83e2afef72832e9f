"""Pages for a browser: the report of an import, and thumbnails of a version."""

from __future__ import annotations

import base64
import html
import tempfile
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from visionyard.cli import output
from visionyard.cli.session import Session
from visionyard.client.errors import local
from visionyard.client.references import short
from visionyard.dataset.v1 import dataset_pb2, dataset_service_pb2
from visionyard.kit.errors import Reason

_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
:root {{ --ground: #f6f7f9; --card: #fff; --text: #1b2027; --quiet: #5b6573; }}
@media (prefers-color-scheme: dark) {{ :root {{ --ground: #12151a; --card: #1b2027; --text: #e6e9ee; --quiet: #9aa5b4; }} }}
body {{ margin: 0; padding: 24px 20px; background: var(--ground); color: var(--text); font: 15px/1.45 system-ui, "Segoe UI", Roboto, sans-serif; }}
h1 {{ font-size: 24px; margin: 0; overflow-wrap: anywhere; }}
p {{ color: var(--quiet); margin: 4px 0 20px; }}
main {{ display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 220px), 1fr)); gap: 16px 14px; }}
figure {{ margin: 0; min-width: 0; break-inside: avoid; }}
figure div {{ aspect-ratio: 1; display: flex; align-items: center; justify-content: center; background: var(--card); border-radius: 6px; }}
img {{ max-width: 100%; max-height: 100%; border-radius: 6px; }}
figcaption {{ font-size: 13px; margin-top: 6px; color: var(--quiet); overflow-wrap: anywhere; }}
b {{ display: block; font-weight: 500; color: var(--text); }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{what}</p>
<main>
"""
_FIGURE = '<figure><div><img src="data:image/jpeg;base64,{data}" alt="{name}"></div><figcaption><b>{name}</b>{size} pixels, {labels}</figcaption></figure>\n'
_TAIL = "</main>\n</body>\n</html>\n"


async def save_report(session: Session, name: str, target: Path) -> None:
    """Writes the report's page and says where."""
    target = writable(target)
    session.progress.say("drawing the page")
    await session.client.datasets.report_page(name, target)
    document = {"name": name, "file": str(target), "size_bytes": target.stat().st_size}
    session.show_document(document, lambda: output.write(f"{target}: {output.size(target.stat().st_size)}; open it in a browser"))


async def save_preview(
    session: Session, name: str, target: Path | None, *, split: str, class_name: str, count: int, seed: int | None, show: bool
) -> None:
    """Writes a page of thumbnails and says where; opens a browser where there is one, if that is wanted."""
    version = await session.client.datasets.get_version(name)
    session.progress.say("drawing the thumbnails")
    images = await session.client.datasets.preview(version.name, split=split, class_name=class_name, count=count, seed=seed)
    if not images:
        raise local(Reason.NO_IMAGES, f"no image of {short(version.name)} fits: leave out --split or --class", {"name": version.name})
    file = writable(target) if target else Path(tempfile.mkdtemp(prefix="yard-")) / f"{short(version.name)}.html"
    file.write_text(preview_page(version, images), encoding="utf-8")
    opened = show and webbrowser.open(file.absolute().as_uri())
    document = {"name": version.name, "file": str(file), "image_count": len(images), "opened": opened}
    hint = "" if opened else "; open it in a browser"
    session.show_document(document, lambda: output.write(f"{file}: {len(images)} images{hint}"))


def preview_page(version: dataset_pb2.DatasetVersion, images: Sequence[dataset_service_pb2.ImagePreview]) -> str:
    """An HTML page of thumbnails that needs nothing from outside; whatever names hold is escaped."""
    title = html.escape(short(version.name))
    parts = [_HEAD.format(title=title, what=f"{len(images)} of {version.image_count} images, {version.label_count} labels in all")]
    for image in images:
        data, labels = base64.b64encode(image.thumbnail).decode(), html.escape(_labels(image))
        parts.append(_FIGURE.format(data=data, name=html.escape(image.image), size=f"{image.width_px} x {image.height_px}", labels=labels))
    return "".join([*parts, _TAIL])


def _labels(image: dataset_service_pb2.ImagePreview) -> str:
    names = [label.class_name for label in image.labels]
    counts = [f"{names.count(name)} {name}" for name in dict.fromkeys(names)]
    return ", ".join(counts) or "no label"


def writable(target: Path, option: str = "html") -> Path:
    """The file that an option names.

    Raises:
        ClientError: INVALID_ARGUMENT (INVALID_FIELD), nothing can be written there.
    """
    target = target.expanduser()
    if target.is_dir():
        raise local(Reason.INVALID_FIELD, f"{target} is a folder; give --{option} a file", {"field": option})
    if not target.parent.is_dir():
        raise local(
            Reason.INVALID_FIELD, f"{target.parent} is no folder; make it first, or give --{option} another file", {"field": option}
        )
    return target
