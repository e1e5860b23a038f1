"""Origins: an ASGI application on Hypercorn (HTTP/1.1, HTTP/2, WebSocket), nginx, and raw sockets."""

import socket
import threading
from pathlib import Path

from .programs import Program, find, free_port

APP_FOLDER = Path(__file__).resolve().parent


class Hypercorn:
    """The echo application of `app.py`; speaks HTTP/1.1 and cleartext HTTP/2 on one port."""

    def __init__(self, folder):
        self.port = free_port()
        config = Path(folder) / "hypercorn.toml"
        config.write_text("h2_max_inbound_frame_size = 65536\nkeep_alive_timeout = 3600\nloglevel = 'ERROR'\n")
        argv = [find("hypercorn"), "--config", config, "--bind", f"127.0.0.1:{self.port}", "app:app"]
        self.process = Program("hypercorn", argv, Path(folder) / "hypercorn.log", [self.port], APP_FOLDER)

    def stop(self):
        self.process.stop()


class Nginx:
    """nginx with the given `server` blocks' content; HTTP/1.1 on `port`, cleartext HTTP/2 on `h2_port`."""

    def __init__(self, folder, locations, http="", workers=1):
        self.folder = Path(folder) / "nginx"
        self.folder.mkdir()
        # Workers drop their privileges, and the folder of a test belongs to its owner alone.
        for part in (Path(folder), self.folder):
            part.chmod(0o755)
        self.root = self.folder / "root"
        self.root.mkdir()
        self.port, self.h2_port = free_port(), free_port()
        temporary = "\n".join(
            f"{kind}_temp_path {self.folder}/tmp-{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        self.config = self.folder / "nginx.conf"
        self.config.write_text(f"""
daemon off; worker_processes {workers}; pid {self.folder}/pid; error_log stderr warn;
events {{ worker_connections 1000; }}
http {{
  access_log off; {temporary}
  types {{ text/plain txt; text/html html; application/octet-stream bin; }}
  {http}
  server {{
    listen 127.0.0.1:{self.port}; listen 127.0.0.1:{self.h2_port} http2;
    root {self.root}; client_max_body_size 0; keepalive_requests 1000000; http2_max_concurrent_streams 256;
    {locations}
  }}
}}
""")
        argv = [find("nginx"), "-c", self.config, "-e", "stderr"]
        self.process = Program("nginx", argv, self.folder / "log", [self.port, self.h2_port])

    def workers(self):
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def stop(self):
        self.process.stop()


class RawOrigin:
    """Hands each accepted connection to `serve(connection, number)` on a thread of its own."""

    def __init__(self, serve):
        self.serve = serve
        self.accepted = 0
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._one, args=(connection, self.accepted), daemon=True).start()

    def _one(self, connection, number):
        with connection:
            try:
                self.serve(connection, number)
            except OSError:
                pass

    def stop(self):
        self.socket.close()


def read_head(connection):
    """Reads up to the blank line; returns (head, what came after)."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None, b""
        data += more
    head, rest = data.split(b"\r\n\r\n", 1)
    return head, rest


def read_body(connection, head, rest):
    """Reads a counted or chunked body to its end; returns (body, raw bytes as they came)."""
    lower = head.lower()
    if b"transfer-encoding: chunked" in lower:
        while not (rest.startswith(b"0\r\n") and rest.endswith(b"\r\n\r\n")) and b"\r\n0\r\n" not in rest[-4096:]:
            rest += _more(connection)
        while not rest.endswith(b"\r\n\r\n"):
            rest += _more(connection)
        return dechunk(rest), rest
    length = 0
    for line in lower.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            length = int(line.split(b":")[1])
    while len(rest) < length:
        rest += _more(connection)
    return rest, rest


def _more(connection):
    more = connection.recv(65536)
    if not more:
        raise OSError("the client closed in the body")
    return more


def dechunk(raw):
    body = b""
    while True:
        size, raw = raw.split(b"\r\n", 1)
        size = int(size.split(b";")[0], 16)
        if size == 0:
            return body
        body, raw = body + raw[:size], raw[size + 2 :]
