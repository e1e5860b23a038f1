"""Origin servers behind the proxies: a fixed body, and a verifying server for huge bodies."""

import http.server
import socketserver
import sys
from pathlib import Path

from .proc import Process, free_port, wait_until
from .wire import answers_200, answers_rpc

BODY_BYTES = 1024
_BLOCK = bytes((i * 131 + (i >> 8) * 17) & 0xFF for i in range(64 * 1024))

NGINX_ORIGIN = """
worker_processes 1;
worker_rlimit_nofile 20000;
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 9000; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  keepalive_timeout 3600s;
  client_body_temp_path {folder}/tmp-body; proxy_temp_path {folder}/tmp-proxy;
  fastcgi_temp_path {folder}/tmp-f; uwsgi_temp_path {folder}/tmp-u; scgi_temp_path {folder}/tmp-s;
  server {{
    listen 127.0.0.1:{http1} backlog=4096;
    location / {{ default_type application/octet-stream; return 200 "{body}"; }}
  }}
}}
"""


HAPROXY_ORIGIN = """
global
  nbthread 1
  maxconn 9000
  tune.h2.max-concurrent-streams 1000
defaults
  mode http
  timeout connect 5s
  timeout client 3600s
  timeout server 3600s
frontend origin
  bind 127.0.0.1:{http2} proto h2 backlog 4096
  http-request return status 200 content-type application/octet-stream file {body}
"""


class FixedOrigin:
    """The same body for every request: nginx over HTTP/1.1, HAProxy over cleartext HTTP/2, each the quicker at it."""

    body = ("0123456789abcdef" * (BODY_BYTES // 16)).encode()

    def __init__(self, tools, folder, cores):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        self.http1, self.http2 = free_port(), free_port()
        (folder / "body").write_bytes(self.body)
        nginx, haproxy = folder / "nginx.conf", folder / "haproxy.cfg"
        nginx.write_text(NGINX_ORIGIN.format(folder=folder, http1=self.http1, body=self.body.decode()))
        haproxy.write_text(HAPROXY_ORIGIN.format(http2=self.http2, body=folder / "body"))
        self.processes = []
        try:
            argv = [tools["nginx"], "-c", nginx, "-e", "stderr"]
            self.processes.append(Process("HTTP/1.1 origin", argv, cores, folder / "nginx.log"))
            argv = [tools["haproxy"], "-db", "-f", haproxy]
            self.processes.append(Process("HTTP/2 origin", argv, cores, folder / "haproxy.log"))
            for process, port, protocol in zip(self.processes, (self.http1, self.http2), ("Http1", "Http2")):
                wait_until(lambda port=port, p=protocol: answers_200(port, p), 10, process.name, process)
        except BaseException:
            self.stop()
            raise

    def port(self, protocol):
        return self.http2 if protocol == "Http2" else self.http1

    def cpu_seconds(self):
        return sum(process.cpu().total for process in self.processes)

    def stop(self):
        for process in self.processes:
            process.stop()


class EchoOrigin:
    """Returns the argument of every call: `mosn bench serve`."""

    def __init__(self, mosn, protocol, folder, cores):
        self.number = free_port()
        argv = [mosn, "bench", "serve", protocol, "--listen", f"127.0.0.1:{self.number}"]
        self.process = Process("echo origin", argv, cores, Path(folder) / "origin" / "log")
        wait_until(lambda: answers_rpc(mosn, self.number, protocol), 10, "the echo origin", self.process)

    def port(self, protocol):
        return self.number

    def cpu_seconds(self):
        return self.process.cpu().total

    def stop(self):
        self.process.stop()


class StreamOrigin:
    """Sends and receives bodies of any length, each byte a function of its position."""

    def __init__(self, folder, cores):
        self.http1 = free_port()
        argv = [sys.executable, "-m", "harness.origin", str(self.http1)]
        bench = Path(__file__).resolve().parents[1]
        self.process = Process("stream origin", argv, cores, Path(folder) / "log", cwd=bench)
        wait_until(lambda: answers_200(self.http1, "Http1", "/1"), 10, "the stream origin", self.process)

    def stop(self):
        self.process.stop()


def pattern(position, length):
    """The bytes of the endless body from `position`, at most up to the end of the current block."""
    start = position % len(_BLOCK)
    return memoryview(_BLOCK)[start : min(start + length, len(_BLOCK))]


def matches_pattern(position, data):
    """Whether `data` is what the endless body holds at `position`."""
    view = memoryview(data)
    while view:
        expected = pattern(position, len(view))
        if view[: len(expected)] != expected:
            return False
        view = view[len(expected) :]
        position += len(expected)
    return True


class _StreamHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        length = int(self.path.strip("/") or 0)
        self.send_response(200)
        self.send_header("content-length", str(length))
        self.end_headers()
        sent = 0
        while sent < length:
            chunk = pattern(sent, length - sent)
            self.wfile.write(chunk)
            sent += len(chunk)

    def do_POST(self):
        if "chunked" in self.headers.get("transfer-encoding", ""):
            received = self._chunked()
        else:
            received = self._counted(0, int(self.headers.get("content-length", 0)))
        body = str(received).encode()
        self.send_response(200 if received is not None else 400)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _counted(self, position, length):
        end = position + length
        while position < end:
            data = self.rfile.read1(min(1 << 16, end - position))
            if not data or not matches_pattern(position, data):
                return None
            position += len(data)
        return position

    def _chunked(self):
        position = 0
        while True:
            size = int(self.rfile.readline().split(b";")[0], 16)
            if size == 0:
                self.rfile.readline()
                return position
            position = self._counted(position, size)
            if position is None:
                return None
            self.rfile.readline()

    def log_message(self, *_):
        pass


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True


if __name__ == "__main__":
    _Server(("127.0.0.1", int(sys.argv[1])), _StreamHandler).serve_forever()
