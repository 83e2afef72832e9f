"""``yard deploy`` and ``yard deployment``."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from typing import Annotated

import typer

from visionyard.cli import output
from visionyard.cli.options import AsJson, Directory, ModelVersion, example
from visionyard.cli.progress import Step
from visionyard.cli.session import Session, run
from visionyard.client.deployments import LetterboxChoice
from visionyard.client.errors import local
from visionyard.client.references import short
from visionyard.inference.v1 import deployment_pb2, deployment_service_pb2
from visionyard.kit.errors import Reason

app = typer.Typer(help="Deployments: list, show, delete.", no_args_is_help=True)
DeploymentName = Annotated[str, typer.Argument(metavar="NAME", help="A deployment.")]


class Letterbox(StrEnum):
    """What ``--letterbox`` takes."""

    RECT = "rect"
    SQUARE = "square"


_CHOICES: dict[Letterbox, LetterboxChoice] = {Letterbox.RECT: "rect", Letterbox.SQUARE: "square"}


def deploy(
    model: ModelVersion,
    name: Annotated[str, typer.Option("--name", metavar="DEPLOYMENT", help="The deployment; made where it is not there, else changed.")],
    artifact: Annotated[
        str,
        typer.Option(
            "--artifact", metavar="KEY", help="An artifact of the model by its key or the key's beginning; else the newest that fits."
        ),
    ] = "",
    letterbox: Annotated[
        Letterbox | None, typer.Option("--letterbox", help="How pictures are fitted; else as before, and rect at first.")
    ] = None,
    as_json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Serve a model under a name, and wait until it answers; a version that serves there goes on until the new one does."""

    async def work(session: Session) -> None:
        deployments = session.client.deployments
        version = (await session.client.models.get_version(model)).name
        artifact_name = await _artifact(session, version, artifact) if artifact else ""
        with session.pending("deploy", model=version, name=name, artifact=artifact, letterbox=letterbox) as pending:
            made = await deployments.create_or_update(
                name, version, artifact=artifact_name, letterbox=_CHOICES[letterbox] if letterbox else None, request_id=pending.request_id
            )
            try:
                ready = await deployments.wait_ready(
                    made.name, lambda d: session.progress.update(Step(f"loading {short(d.model_version)}"))
                )
            except asyncio.CancelledError:
                pending.end()
                session.progress.say(
                    f"stopped waiting; loading goes on: `yard deployment show {name}` tells, `yard deployment delete {name}` ends it"
                )
                raise
        session.show(deployment_service_pb2.GetDeploymentResponse(deployment=ready), lambda: shown(ready))

    run(work, as_json=as_json, directory=directory)


async def _artifact(session: Session, version: str, key: str) -> str:
    """The resource name of the artifact with a key, or with a key that begins so."""
    if "/" in key:
        return key
    names = [artifact.name for artifact in await session.client.artifacts.list(version)]
    found = [name for name in names if name.split("/")[-1].startswith(key)]
    if len(found) == 1:
        return found[0]
    if found:
        raise local(
            Reason.INVALID_FIELD, f"{key!r} fits {len(found)} artifacts of {short(version)}; give more of the key", {"field": "artifact"}
        )
    known = ", ".join(name.split("/")[-1] for name in names) or "none; `yard export` makes one"
    raise local(
        Reason.ARTIFACT_NOT_FOUND, f"{short(version)} has no artifact {key!r}; it has {known}", {"name": f"{version}/artifacts/{key}"}
    )


def state_of(deployment: deployment_pb2.Deployment) -> str:
    """A deployment's state for people."""
    return output.enum_word(deployment_pb2.DeploymentState.Name(deployment.state), "DEPLOYMENT_STATE_")


def shown(deployment: deployment_pb2.Deployment) -> None:
    """A deployment for people."""
    output.fields(
        [
            ("deployment", short(deployment.name)),
            ("state", state_of(deployment)),
            ("model", short(deployment.model_version)),
            ("serves", short(deployment.served_version) if deployment.served_version else "nothing yet"),
            ("artifact", deployment.artifact.split("/")[-1]),
            ("letterbox", output.enum_word(deployment_pb2.Letterbox.Name(deployment.letterbox), "LETTERBOX_")),
            ("backend", deployment.backend),
            ("classes", ", ".join(deployment.class_names)),
            ("updated", output.time(deployment.update_time)),
            ("error", deployment.error.message),
        ]
    )


@app.command("list", epilog=example("yard deployment list"))
def list_(as_json: AsJson = False, directory: Directory = None) -> None:
    """List the deployments of the project."""

    async def work(session: Session) -> None:
        deployments = await session.client.deployments.list()
        rows = [
            (short(d.name), state_of(d), short(d.served_version) if d.served_version else "", d.backend, output.time(d.update_time))
            for d in deployments
        ]
        session.show(
            deployment_service_pb2.ListDeploymentsResponse(deployments=deployments),
            lambda: output.table(("DEPLOYMENT", "STATE", "SERVES", "BACKEND", "UPDATED"), rows, empty="no deployments"),
        )

    run(work, as_json=as_json, directory=directory)


@app.command("show", epilog=example("yard deployment show cones"))
def show(name: DeploymentName, as_json: AsJson = False, directory: Directory = None) -> None:
    """Show a deployment: what it serves, with which artifact, and whether it answers."""

    async def work(session: Session) -> None:
        deployment = await session.client.deployments.get(name)
        session.show(deployment_service_pb2.GetDeploymentResponse(deployment=deployment), lambda: shown(deployment))

    run(work, as_json=as_json, directory=directory)


@app.command("delete", epilog=example("yard deployment delete cones"))
def delete(name: DeploymentName, as_json: AsJson = False, directory: Directory = None) -> None:
    """Take a deployment away; its model stays."""

    async def work(session: Session) -> None:
        await session.client.deployments.delete(name)
        session.show(deployment_service_pb2.DeleteDeploymentResponse(), lambda: output.write(f"{name}: deleted"))

    run(work, as_json=as_json, directory=directory)
