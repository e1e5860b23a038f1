"""An HTTP/1.1 client that sends exactly the bytes it is given and reads replies strictly."""

import socket
from dataclasses import dataclass, field


@dataclass
class Reply:
    """A whole reply. Names of fields are lower case. `closed`: the end of the connection ended the body."""

    status: int
    headers: list
    body: bytes = b""
    trailers: list = field(default_factory=list)
    interim: list = field(default_factory=list)
    closed: bool = False


class Http1:
    """A connection."""

    def __init__(self, port, timeout=10):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def request(self, method, path, headers=(), body=None):
        lines = [f"{method} {path} HTTP/1.1", "Host: peer.test", *(f"{k}: {v}" for k, v in headers)]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
        return self.reply(method)

    def reply(self, method="GET"):
        interim = []
        while True:
            status, headers = self._head()
            if status >= 200 or status == 101:
                break
            interim.append((status, headers))
        reply = Reply(status, headers, interim=interim)
        fields = dict(headers)
        if method == "HEAD" or status in (101, 204, 304):
            return reply
        if "chunked" in fields.get("transfer-encoding", ""):
            self._chunks(reply)
        elif "content-length" in fields:
            reply.body = self._take(int(fields["content-length"]))
        else:
            reply.body, reply.closed = self.rest(), True
        return reply

    def rest(self):
        """Everything up to the close by the other side."""
        data, self.buffer = self.buffer, b""
        try:
            while more := self.socket.recv(65536):
                data += more
        except ConnectionResetError:
            pass
        return data

    def closed_by_peer(self, seconds):
        """Whether the other side closes within the time, sending nothing more."""
        self.socket.settimeout(seconds)
        try:
            return self.socket.recv(1) == b""
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False

    def _head(self):
        lines = [self._line()]
        while line := self._line():
            lines.append(line)
        version, status = lines[0].split(None, 2)[:2]
        if not version.startswith(b"HTTP/1."):
            raise ValueError(f"no status line: {lines[0]!r}")
        headers = []
        for line in lines[1:]:
            name, value = line.split(b":", 1)
            headers.append((name.decode("latin-1").lower(), value.strip().decode("latin-1")))
        return int(status), headers

    def _chunks(self, reply):
        while size := int(self._line().split(b";")[0], 16):
            reply.body += self._take(size)
            if self._take(2) != b"\r\n":
                raise ValueError("no line end after a chunk")
        while line := self._line():
            name, value = line.split(b":", 1)
            reply.trailers.append((name.decode().lower(), value.strip().decode()))

    def _line(self):
        while b"\r\n" not in self.buffer:
            self._more()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def _take(self, count):
        while len(self.buffer) < count:
            self._more()
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def _more(self):
        more = self.socket.recv(65536)
        if not more:
            raise ConnectionError(f"closed with {self.buffer[:100]!r} unread")
        self.buffer += more
