"""The Python client: ``from visionyard.client import Client``, or ``AsyncClient`` in asyncio code."""

from visionyard.client.client import AsyncClient, Client
from visionyard.client.errors import ClientError, JobCancelled, JobFailed, NoServer

__all__ = ["AsyncClient", "Client", "ClientError", "JobCancelled", "JobFailed", "NoServer"]
