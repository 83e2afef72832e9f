"""``yard storage``: show, collect."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated

import typer

from visionyard.cli import output
from visionyard.cli.options import AsJson, Directory, DryRun, example
from visionyard.cli.progress import Step
from visionyard.cli.session import Session, run
from visionyard.dataset.v1 import storage_pb2, storage_service_pb2

app = typer.Typer(help="Storage: show what the project takes up, collect what nothing refers to.", no_args_is_help=True)
_GRACE = re.compile(r"(\d{1,9})([smhd])")
_UNITS = {"s": timedelta(seconds=1), "m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}


def parse_grace(text: str) -> timedelta:
    """``0s``, ``90m``, ``12h``, ``7d``."""
    match = _GRACE.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r}: give a number and s, m, h or d, like 0s, 30m, 12h or 7d")
    return int(match[1]) * _UNITS[match[2]]


def _kind(kind: storage_pb2.StorageKind.ValueType) -> str:
    return output.enum_word(storage_pb2.StorageKind.Name(kind), "STORAGE_KIND_")


@app.command("show", epilog=example("yard storage show"))
def show(as_json: AsJson = False, directory: Directory = None) -> None:
    """Show what the project takes up in the bucket, by kind, and what of it nothing refers to."""

    async def work(session: Session) -> None:
        storage = await session.client.storage.get()
        session.show(storage_service_pb2.GetStorageResponse(storage=storage), lambda: _shown(storage))

    run(work, as_json=as_json, directory=directory)


def _shown(storage: storage_pb2.Storage) -> None:
    total = storage.total.bytes
    quota = f" of {output.size(storage.quota_bytes)} ({total / storage.quota_bytes:.0%})" if storage.quota_bytes else ", no quota"
    output.fields([("project", storage.project.split("/")[-1]), ("holds", f"{output.size(total)}{quota}")])
    output.write("")
    rows = [
        (_kind(u.kind), u.total.object_count, output.size(u.total.bytes), output.size(u.unreferenced.bytes) if u.unreferenced.bytes else "")
        for u in storage.uses
    ]
    output.table(("KIND", "OBJECTS", "SIZE", "UNREFERENCED"), rows, right=frozenset({1, 2, 3}), empty="nothing")
    if storage.dead_shard_bytes:
        output.write(f"{output.size(storage.dead_shard_bytes)} in shards that are still needed belong to images that no version holds")
    _unknown(storage.unknown_keys)
    if any(use.unreferenced.bytes for use in storage.uses):
        output.write("`yard storage collect` frees what nothing refers to")


def _unknown(keys: Iterable[str]) -> None:
    for key in keys:
        output.write(f"unknown, left alone: {output.plain(key)}")


@app.command("collect", epilog=example("yard storage collect --dry-run", "yard storage collect --grace 0s"))
def collect(
    grace: Annotated[
        str, typer.Option("--grace", metavar="TIME", help="Leave what is younger alone: 0s, 30m, 12h, 7d; else the service's own, an hour.")
    ] = "",
    dry_run: DryRun = False,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Delete what nothing refers to any more: images, manifests and reports of deleted versions and of imports that came to nothing."""
    age = parse_grace(grace) if grace else None

    async def work(session: Session) -> None:
        done = await session.client.storage.collect(
            grace=age, dry_run=dry_run, on_progress=lambda p: session.progress.update(Step(p.phase, p.done, p.total, p.unit))
        )
        session.show(storage_service_pb2.CollectStorageResponse(collection=done), lambda: _collected(done, dry_run=dry_run))

    run(work, as_json=as_json, directory=directory)


def _collected(done: storage_pb2.StorageCollection, *, dry_run: bool) -> None:
    output.write(f"{'would free' if dry_run else 'freed'} {output.size(max(0, done.freed_bytes))}")
    if done.collected:
        rows = [(_kind(c.kind), c.amount.object_count, output.size(c.amount.bytes)) for c in done.collected]
        output.table(("WOULD GO" if dry_run else "DELETED", "OBJECTS", "SIZE"), rows, right=frozenset({1, 2}))
    if done.rewritten_shard_count:
        output.write(f"{done.rewritten_shard_count} shards that are mostly dead {'would be' if dry_run else 'were'} rewritten")
    if done.young.object_count:
        output.write(f"{output.size(done.young.bytes)} that nothing refers to are younger than the grace period and stay for now")
    if done.pinned.object_count:
        jobs = ", ".join(name.split("/")[-1] for name in done.pinning_jobs)
        output.write(
            f"{output.size(done.pinned.bytes)} stay because running imports may refer to them ({jobs}): collect again when they have ended"
        )
    _unknown(done.unknown_keys)
