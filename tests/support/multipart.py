"""Multipart uploads that were begun and neither completed nor aborted: they take room, and no listing of objects shows them."""

from datetime import UTC, datetime
from urllib.parse import quote, urlsplit, urlunsplit
from xml.etree import ElementTree as ET

import urllib3
from minio.credentials.credentials import Credentials
from minio.signer import presign_v4

from visionyard.kit.objectstore.s3 import S3Settings


def unfinished(settings: S3Settings, prefix: str) -> list[str]:
    """The keys below ``prefix`` that such uploads write to, as S3's ListMultipartUploads tells."""
    url = urlsplit(f"http://{settings.endpoint}/{settings.bucket}?prefix={quote(prefix, safe='')}&uploads=")
    keys = Credentials(settings.access_key, settings.secret_key)
    signed = presign_v4(method="GET", url=url, region=settings.region, credentials=keys, date=datetime.now(UTC), expires=60)
    answer = urllib3.request("GET", urlunsplit(signed), retries=False, timeout=20)
    assert answer.status == 200, answer.data
    return [element.text or "" for element in ET.fromstring(answer.data).iter() if element.tag.rpartition("}")[2] == "Key"]
