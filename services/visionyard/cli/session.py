"""What a command works with: the client, the state directory, its two outputs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import Message

from visionyard.cli.output import message_json, write_json
from visionyard.cli.pending import Pending
from visionyard.cli.progress import ProgressDisplay
from visionyard.client import AsyncClient
from visionyard.client.endpoints import default_state_dir
from visionyard.kit.request_id import new_request_id, set_request_id


@dataclass(frozen=True)
class Session:
    """One command's run.

    Attributes:
        client: The client.
        state_dir: The state directory.
        as_json: Whether stdout is for programs.
        progress: Where progress and messages go.
    """

    client: AsyncClient
    state_dir: Path
    as_json: bool
    progress: ProgressDisplay

    def pending(self, command: str, **decides: Any) -> Pending:
        """The request of a mutating command; ``decides`` is all that decides what it does."""
        return Pending(self.state_dir, {"command": command, "project": self.client.project, **decides})

    def show(self, response: Message, for_people: Callable[[], None]) -> None:
        """The result: the response message, or what people read."""
        self.show_document(message_json(response) if self.as_json else {}, for_people)

    def show_document(self, document: Mapping[str, Any], for_people: Callable[[], None]) -> None:
        """The result where it is no protobuf message."""
        if self.as_json:
            write_json(document)
        else:
            for_people()


def state_dir_of(directory: Path | None) -> Path:
    """The state directory that ``--dir`` names, or the usual one."""
    return directory.expanduser().absolute() if directory else default_state_dir()


def run(work: Callable[[Session], Coroutine[Any, Any, None]], *, as_json: bool, directory: Path | None) -> None:
    """Runs a command's coroutine with a client, under one request id.

    Raises:
        ClientError: what the command could not do.
        KeyboardInterrupt: Ctrl-C.
    """

    async def go() -> None:
        state_dir = state_dir_of(directory)
        with ProgressDisplay() as progress:
            async with AsyncClient(state_dir=state_dir, on_waiting=progress.say) as client:
                await work(Session(client, state_dir, as_json, progress))

    set_request_id(new_request_id())
    asyncio.run(go())
