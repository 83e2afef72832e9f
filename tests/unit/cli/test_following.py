"""An upload stays where the job that needs it may have been queued."""

from types import SimpleNamespace

import pytest

from visionyard.cli import following
from visionyard.client.errors import NO_SERVER, ClientError, NoServer
from visionyard.kit.errors import Code


class Uploads:
    def __init__(self):
        self.deleted = []

    async def upload(self, *_, **__):
        return SimpleNamespace(name="projects/default/uploads/u")

    async def delete(self, _, name):
        self.deleted.append(name)


class Pending:
    def __init__(self):
        self.facts = {}
        self.request_id = "r"

    def note(self, **facts):
        self.facts.update(facts)


@pytest.mark.parametrize(
    ("error", "deleted"),
    [
        (ClientError(Code.INVALID_ARGUMENT, "INVALID_FIELD", "no"), True),
        (ClientError(Code.RESOURCE_EXHAUSTED, "", "full"), True),
        (ClientError(Code.UNAVAILABLE, "", "away"), False),
        (ClientError(Code.DEADLINE_EXCEEDED, "", "late"), False),
        (ClientError(Code.INTERNAL, "INTERNAL", "fell over"), False),
        (NoServer(Code.UNAVAILABLE, NO_SERVER, "nobody there"), False),
    ],
)
async def test_an_upload_goes_with_a_refusal_only(error, deleted):
    uploads = Uploads()
    session = SimpleNamespace(client=SimpleNamespace(uploads=uploads), progress=None)

    async def create(*_):
        raise error

    with pytest.raises(ClientError):
        await following.begin_with_uploads(session, "dataset", [SimpleNamespace(name="a.zip")], Pending(), create, None)
    assert bool(uploads.deleted) == deleted
