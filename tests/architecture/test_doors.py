"""The doors between and inside the rooms: import-linter's contracts, and what it cannot say."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "services" / "visionyard"
ROOMS = ("dataset", "training", "export", "inference")
EDGES = {"__main__", "app", "config", "mapping", "metrics", "servicer"}
"""The modules of a room that may speak protos, gRPC and settings; also `*_servicer` and `*_mapping`."""
ADAPTERS = {
    "dataset.fetching.connecting": "opens sockets to sources",
    "dataset.fetching.http": "speaks HTTP to sources",
    "dataset.fetching.s3": "reads other buckets, those that the allow-list names",
    "dataset.fetching.sources": "puts these together for the worker",
    "training.notifications.posting": "posts to channels over HTTP",
    "inference.triton": "speaks to Triton over gRPC",
    "inference.backends.config": "writes the model configuration that Triton reads, a protobuf text",
}
"""Modules of a room that stand at another server's door, each with its reason."""
WIRE = ("grpc", "grpc_health", "grpc_reflection", "google.protobuf", "google.rpc", "minio", "tritonclient", "prometheus_client")
HEAVY = ("torch", "torchvision", "ultralytics")


def modules():
    for path in sorted(SOURCE.rglob("*.py")):
        parts = path.relative_to(SOURCE).with_suffix("").parts
        if "v1" not in parts:
            yield ".".join(parts), path


def domain_modules():
    for name, path in modules():
        room, *inner = name.split(".")
        if room not in ROOMS or not inner or "worker" in inner or name in ADAPTERS:
            continue
        if not is_edge(name):
            yield name, path


def is_edge(name):
    last = name.split(".")[-1]
    return last in EDGES or last.endswith(("_servicer", "_mapping"))


def imports_of(path):
    """Every module that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def begins_with(name, roots):
    return any(name == root or name.startswith(root + ".") for root in roots)


@pytest.fixture(scope="module")
def graph():
    """Who imports whom. What a worker's life opens is left out: a handler is given its context, with the port only."""
    graph = grimp.build_graph("visionyard", include_external_packages=True, cache_dir=None)
    graph.remove_import(importer="visionyard.kit.jobs.worker", imported="visionyard.kit.objectstore.s3")
    return graph


def test_import_linters_contracts_hold():
    program = Path(sys.executable).with_name("lint-imports")
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "services")}
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_folder_is_a_package_so_that_no_door_is_overlooked():
    folders = {path.parent for _, path in modules()}
    assert [str(folder.relative_to(SOURCE)) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []


def test_domain_modules_import_neither_wire_nor_generated_code():
    wrong = [
        f"{name} imports {imported}"
        for name, path in domain_modules()
        for imported in imports_of(path)
        if begins_with(imported, WIRE + HEAVY) or (imported.startswith("visionyard.") and "v1" in imported.split("."))
    ]
    assert sorted(set(wrong)) == []


def test_domain_modules_import_no_edge_of_their_room():
    """Servicer and mapping know the domain, never the other way round. `metrics` may be handed what happens, so the domain may name it."""
    edges = {n for n, _ in modules() if n.split(".")[0] in ROOMS and is_edge(n) and not n.endswith(".metrics") and n not in ADAPTERS}
    assert {f"{room}.{edge}" for room in ROOMS for edge in ("app", "config", "__main__", "mapping", "servicer")} <= edges
    wrong = [
        f"{name} imports {imported}"
        for name, path in domain_modules()
        for imported in imports_of(path)
        if imported.removeprefix("visionyard.") in edges
    ]
    assert sorted(set(wrong)) == []


def test_domain_modules_do_not_reach_the_wire_through_the_kit_either(graph):
    wrong = []
    for name, _ in domain_modules():
        module = f"visionyard.{name}".removesuffix(".__init__")
        for target in ("grpc", "minio"):
            chain = graph.find_shortest_chain(module, target) if target in graph.modules else None
            if chain:
                wrong.append(" -> ".join(chain))
    assert wrong == []


def test_adapters_are_there():
    known = {name for name, _ in modules()}
    assert sorted(set(ADAPTERS) - known) == []


def test_only_app_and_workers_open_the_store():
    """`app.py` is the only place of a room that builds adapters; a worker is handed its store by the kit."""
    wrong = [
        name
        for name, path in modules()
        if name.split(".")[0] in ROOMS and not name.endswith(".app") and name != "dataset.fetching.s3"  # never the service's own bucket
        for imported in imports_of(path)
        if imported.startswith("visionyard.kit.objectstore.s3")
    ]
    assert wrong == []


def test_modules_are_small_enough_to_hold_in_mind():
    assert [name for name, path in modules() if len(path.read_text().splitlines()) > 400] == []


def test_nothing_of_the_tests_or_the_machine_is_named_in_the_services():
    wrong = [name for name, path in modules() if "/work/" in path.read_text()]
    assert wrong == []
