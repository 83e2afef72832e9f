"""A real HTTP server on loopback that serves one file well, or in every way in which servers fail."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    """Calls the server's behaviour of that path; the behaviour writes the answer."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.close_connection = True
        web = self.server.web
        path = self.path.partition("?")[0]
        web.asked.append((path, dict(self.headers.items())))
        web.behaviours.get(path, _nothing)(self)

    def log_message(self, *_):
        pass

    def head(self, status=200, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def chunk(self, data):
        self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    @property
    def begin(self):
        """Where the asked range begins, if it is asked for this very file."""
        text = self.headers.get("Range", "")
        return int(text.removeprefix("bytes=").removesuffix("-")) if text else 0


def _nothing(request):
    request.head(404, Content_Length=0)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_):
        pass  # the client went away: that is what many tests are about


class Web:
    """A running server.

    Attributes:
        asked: Path and headers of each request.
        behaviours: What answers, by path.
        ended: Set when the test is over, so that nobody drips on.
    """

    def __init__(self, port):
        self.root = f"http://127.0.0.1:{port}"
        self.asked = []
        self.behaviours = {}
        self.ended = threading.Event()

    def serve(self, path, behaviour):
        self.behaviours[path] = behaviour
        return self.root + path

    def turns(self, path, *others):
        """Answers as the others do, one request after the other; the last again and again."""
        left = list(others)

        def answer(request):
            self.behaviours[left.pop(0) if len(left) > 1 else left[0]](request)

        return self.serve(path, answer)

    def paths(self):
        return [path for path, _ in self.asked]

    def file(self, path, data, drop_after=None, ranges=True, etag='"one"'):
        """A file; each answer breaks off after so many bytes of it."""

        def answer(request):
            begin = request.begin if ranges and request.headers.get("If-Range") == etag else 0
            rest = data[begin:]
            kept = {"ETag": etag} if etag else {}
            if begin:
                request.head(206, Content_Length=len(rest), Content_Range=f"bytes {begin}-{len(data) - 1}/{len(data)}", **kept)
            else:
                request.head(200, Content_Length=len(rest), **kept)
            request.wfile.write(rest if drop_after is None else rest[:drop_after])

        return self.serve(path, answer)


@contextmanager
def serving(context=None):
    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    web = server.web = Web(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
