"""A real HTTP server on loopback that takes webhooks' posts, and answers as it is told to."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.close_connection = True
        hooks = self.server.hooks
        data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        with hooks.lock:
            hooks.posts.append((self.path, dict(self.headers.items()), json.loads(data)))
            answers = hooks.answers.get(self.path.partition("?")[0], [])
            answer = answers.pop(0) if answers else 200
        if callable(answer):
            answer(self)
        else:
            self.answer(answer)

    def answer(self, status, data=b"", **headers):
        self.send_response(status)
        for name, value in {"Content_Length": len(data), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, *_):
        pass  # the client went away: that is what some tests are about


class Hooks:
    """A running server.

    Attributes:
        posts: Path, headers and body of each post.
        answers: By path, what the next posts are answered: statuses, or functions that get the handler; after them 200.
        ended: Set when the test is over, so that nobody waits on.
    """

    def __init__(self, port):
        self.root = f"http://127.0.0.1:{port}"
        self.posts = []
        self.answers = {}
        self.lock = threading.Lock()
        self.ended = threading.Event()

    def bodies(self, path):
        return [body for to, _, body in self.posts if to.partition("?")[0] == path]


@contextmanager
def taking_hooks(context=None):
    server = Server(("127.0.0.1", 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    hooks = server.hooks = Hooks(server.server_port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hooks
    finally:
        hooks.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()
