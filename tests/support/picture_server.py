"""A web server of this machine: a picture, errors, and files that do not end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class PictureServer:
    """What a test knows of the server.

    Attributes:
        address: It begins with `http:`; `/a.png` is the picture, `/moved.png` leads
            there, `/nowhere.png` is not there, `/page.html` is no picture,
            `/endless.png` never ends, `/slow.png` neither and comes in small parts.
        num_requests: How often it was asked.
    """

    address: str
    num_requests: int = 0


@contextmanager
def serve_pictures(content: bytes) -> Iterator[PictureServer]:
    """Serve until the block ends.

    Args:
        content: The bytes of the picture.
    """
    is_over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.num_requests += 1
            if self.path == "/moved.png":
                self.send_response(302)
                self.send_header("Location", "/a.png")
                self.end_headers()
                return
            self.send_response(404 if self.path == "/nowhere.png" else 200)
            self.end_headers()
            if self.path == "/a.png":
                self.wfile.write(content)
            elif self.path == "/page.html":
                self.wfile.write(b"<html>Log in first</html>\n")
            elif self.path in ("/endless.png", "/slow.png"):
                self.write_on(pause=0.05 if self.path == "/slow.png" else 0)

        def write_on(self, pause: float) -> None:
            try:
                while not is_over.wait(pause):
                    self.wfile.write(bytes(2**12))
            except OSError:  # The client has gone.
                return

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served = PictureServer(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield served
    finally:
        is_over.set()
        server.shutdown()
        server.server_close()
