"""A proxy that stands between a client and the store and does to the connection what networks do."""

import socket
import threading
from contextlib import suppress

import pytest

from visionyard.kit.objectstore.memory import MemoryObjectStore


class LossyProxy:
    """Forwards HTTP to the store. ``lose_answers`` requests are carried out and their answer dropped; ``cut_after`` ends an answer early; ``away`` refuses."""

    def __init__(self, upstream):
        host, port = upstream.split(":")
        self.upstream = (host, int(port))
        self.lose_answers = 0
        self.cut_after = None
        self.lost = []
        self.requests = []
        self._lock = threading.Lock()
        self._sockets = set()
        self._listener = None
        self.listen(0)

    def listen(self, port):
        self._listener = socket.create_server(("127.0.0.1", port), reuse_port=False)
        self.port = self._listener.getsockname()[1]
        self.endpoint = f"127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def go_away(self):
        """From now on connections are refused, and those there were are cut."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for each in self._sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def come_back(self):
        self.listen(self.port)

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        with client, socket.create_connection(self.upstream) as server:
            with self._lock:
                self._sockets |= {client, server}
            with suppress(OSError, EOFError):
                while True:
                    request_line = self._copy_message(client, server.sendall, is_request=True)
                    self.requests.append(request_line)
                    if self._takes_a_loss(request_line):
                        self._copy_message(server, lambda _: None, is_request=False, method=request_line.split()[0])
                        break
                    self._copy_message(server, self._cutting(client), is_request=False, method=request_line.split()[0])
            with self._lock:
                self._sockets -= {client, server}

    def _takes_a_loss(self, request_line):
        with self._lock:
            if self.lose_answers and request_line.startswith(("PUT", "POST")):
                self.lose_answers -= 1
                self.lost.append(request_line)
                return True
            return False

    def _cutting(self, client):
        if self.cut_after is None:
            return client.sendall
        left = self.cut_after
        self.cut_after = None

        def send(data):
            nonlocal left
            client.sendall(data[:left])
            left -= len(data)
            if left <= 0:
                raise EOFError

        return send

    @staticmethod
    def _copy_message(source, send, *, is_request, method=""):
        data = b""
        while b"\r\n\r\n" not in data:
            got = source.recv(65536)
            if not got:
                raise EOFError
            data += got
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        left = (
            0 if method == "HEAD" or (not is_request and lines[0].split()[1] in {"204", "304"}) else int(headers.get("content-length", 0))
        )
        assert "chunked" not in headers.get("transfer-encoding", "") or method == "HEAD", "the proxy cannot follow chunks"
        send(data)
        left -= len(body)
        while left > 0:
            got = source.recv(min(left, 65536))
            if not got:
                raise EOFError
            send(got)
            left -= len(got)
        return lines[0]


@pytest.fixture
def proxy(seaweed):
    made = LossyProxy(seaweed.endpoint)
    yield made
    made.go_away()


@pytest.fixture(params=["memory", "seaweed"])
def store(request):
    """Every store at hand, one after another."""
    return MemoryObjectStore() if request.param == "memory" else request.getfixturevalue("s3_store")
