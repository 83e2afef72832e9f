"""Addresses, read strictly.

An address is taken apart once, here (RFC 3986 section 3), and requests are built from the parts, so that nobody else can read it another way. What servers read
in different ways (dots, encoded slashes, backslashes) is refused, so that what lies under an allowed path by its text lies there for the server too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

MAX_CHARACTERS = 2048
DEFAULT_PORTS = {"https": 443, "http": 80}
FILE_ORIGIN = "file:"
"""Stands before the name of a client's file where a record says what something was fetched from. It is no address: nothing is read by it."""
_ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)\Z", re.DOTALL)
_HTTP_REST = re.compile(r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:#.*)?\Z", re.DOTALL)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::(?P<port>[0-9]{1,5}))?\Z")
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.(?!-)[a-z0-9_-]{1,63})*\Z")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_SAFE = "/%:@!$&'()*+,;=~-._"
_QUERY_SAFE = _PATH_SAFE + "?"
_MAX_PORT = 65535
_MAX_UNQUOTES = 5


@dataclass(frozen=True)
class Url:
    """An address.

    Attributes:
        scheme: ``https``, ``http`` or ``s3``.
        host: Lower case, without brackets; of ``s3`` the bucket.
        port: 1 to 65535; of ``s3`` 0.
        path: As it is sent, beginning with a slash; of ``s3`` the key, as it is.
        query: As it is sent, without the question mark; may hold a signature, so it is shown nowhere.
        segments: The path's parts, unescaped, for comparing.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: str
    segments: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, *, buckets: bool = False) -> Url:
        """Reads an address.

        Args:
            text: The address.
            buckets: Whether it may be one of ``s3`` too.

        Raises:
            ValueError: it cannot be one; the message is the end of a sentence that begins with the address.
        """
        if len(text) > MAX_CHARACTERS:
            raise ValueError(f"has more than {MAX_CHARACTERS} characters")
        if not text.isprintable() or "\\" in text:
            raise ValueError("holds a backslash or a control character")
        match = _ADDRESS.match(text)
        scheme = match["scheme"].lower() if match else ""
        if match is None or (scheme not in DEFAULT_PORTS and not (buckets and scheme == "s3")):
            raise ValueError(f"begins with {'none of https://, http:// and s3://' if buckets else 'neither https:// nor http://'}")
        if "@" in match["authority"]:
            raise ValueError("holds a user name or password: leave it out, the service sends none")
        if scheme == "s3":
            return cls._s3(match["authority"], match["rest"])
        return cls._http(scheme, match["authority"], match["rest"])

    @classmethod
    def _http(cls, scheme: str, authority: str, rest: str) -> Url:
        if " " in rest:
            raise ValueError("holds a space: write it as %20")
        named, parts = _AUTHORITY.match(authority), _HTTP_REST.match(rest)
        if named is None or parts is None:
            raise ValueError("names no host, or not as host:port")
        port = int(named["port"] or DEFAULT_PORTS[scheme])
        if not 1 <= port <= _MAX_PORT:
            raise ValueError(f"has the port {port}, which is none from 1 to {_MAX_PORT}")
        path = parts["path"] or "/"
        query = quote(parts["query"] or "", safe=_QUERY_SAFE)
        return cls(scheme, host_name(named["host"]), port, quote(path, safe=_PATH_SAFE), query, _segments(path))

    @classmethod
    def _s3(cls, bucket: str, rest: str) -> Url:
        if not _BUCKET.match(bucket):
            raise ValueError("names no bucket: 3 to 63 lower-case letters, digits, '-' or '.'")
        if rest and not rest.startswith("/"):
            raise ValueError("is not of the form s3://bucket/key")
        key = rest.removeprefix("/")
        segments = tuple(key.removesuffix("/").split("/")) if key else ()
        if {"", ".", ".."} & set(segments):
            raise ValueError("has an empty part, '.' or '..' in its path")
        return cls("s3", bucket, 0, key, "", segments)

    @property
    def shown(self) -> str:
        """The address for messages and records: without its query, which may hold a signature."""
        if self.scheme == "s3":
            return f"s3://{self.host}/{self.path}"
        return f"{self.scheme}://{self.authority}{self.path}"

    @property
    def authority(self) -> str:
        """``host`` or ``host:port``, as the header Host wants it (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def file_name(self) -> str:
        """What the source is called in messages: the last part of its path, or the address where there is none."""
        return next((part for part in reversed(self.segments) if part), self.shown)

    def covers(self, other: Url) -> bool:
        """Whether ``other`` is this address or lies below it, whole parts of the path compared."""
        mine = self.segments[:-1] if self.segments and not self.segments[-1] else self.segments
        return (self.scheme, self.host, self.port) == (other.scheme, other.host, other.port) and other.segments[: len(mine)] == mine


def host_name(text: str) -> str:
    """A host in its one form: lower case, ASCII (RFC 5891), no brackets, no dot at the end.

    Raises:
        ValueError: it is none.
    """
    if text.startswith("["):
        return text.strip("[]").lower()
    try:
        host = text.encode("idna").decode().lower().removesuffix(".")
    except UnicodeError as error:
        raise ValueError(f"names {text[:100]!r}, which is no host") from error
    if not _HOST.match(host):
        raise ValueError(f"names {text[:100]!r}, which is no host")
    return host


def _segments(path: str) -> tuple[str, ...]:
    """The unescaped parts of an HTTP path.

    Raises:
        ValueError: servers could read it in more than one way.
    """
    if _ESCAPE.search(path):
        raise ValueError("holds a % that begins no escape: write it as %25")
    parts = path.removeprefix("/").split("/")
    for part in parts:
        _check_part(part)
    return tuple(unquote(part) for part in parts)


def _check_part(part: str) -> None:
    """Refuses what some server, unescaping once more or cutting off parameters (``..;x``), could take for another path."""
    for _ in range(_MAX_UNQUOTES):
        if part.partition(";")[0] in {".", ".."}:
            raise ValueError("has '.' or '..' in its path")
        if "/" in part or "\\" in part or not part.isprintable():
            raise ValueError("holds an escaped slash, backslash or control character in its path")
        plain = unquote(part)
        if plain == part:
            return
        part = plain
    raise ValueError("is escaped again and again")
