"""Small clients on plain sockets: is it up, what does one whole reply look like, hold many connections."""

import select
import socket
import subprocess

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


def request(path="/", host="127.0.0.1"):
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def read_reply(sock):
    """Reads one reply with a Content-Length; returns (status, head length, body)."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(65536)
        if not more:
            raise ConnectionError(f"closed in the head after {data!r}")
        data += more
    head, body = data.split(b"\r\n\r\n", 1)
    status = int(head.split(None, 2)[1])
    length = None
    for line in head.split(b"\r\n")[1:]:
        key, value = line.split(b":", 1)
        if key.strip().lower() == b"content-length":
            length = int(value)
    if length is None:
        raise ValueError(f"no Content-Length in {head!r}")
    while len(body) < length:
        more = sock.recv(65536)
        if not more:
            raise ConnectionError(f"closed after {len(body)} of {length} body bytes")
        body += more
    return status, len(head) + 4, body


def get(port, path="/", host="127.0.0.1", timeout=5):
    with socket.create_connection(("127.0.0.1", port), timeout) as sock:
        sock.sendall(request(path, host))
        return read_reply(sock)


def answers_200(port, protocol, path="/", host="127.0.0.1"):
    """Whether a whole 200 reply comes back now."""
    try:
        if protocol == "Http2":
            argv = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--http2-prior-knowledge", "-m", "2"]
            done = subprocess.run([*argv, "-H", f"Host: {host}", f"http://127.0.0.1:{port}{path}"], capture_output=True)
            return done.stdout == b"200"
        return get(port, path, host, timeout=2)[0] == 200
    except (OSError, ValueError, IndexError):
        return False


def answers_rpc(mosn, port, protocol):
    """Whether a right reply comes back now."""
    target = f"127.0.0.1:{port}"
    brief = ["--duration=1ms", "--warmup=0s", "--timeout=2s"]
    argv = [mosn, "bench", "load", protocol, "--target", target, *brief]
    return subprocess.run(argv, capture_output=True, check=False).returncode == 0


def curl_body(curl, port, protocol):
    """The body that curl gets, to compare byte for byte."""
    flag = ["--http2-prior-knowledge"] if protocol == "Http2" else []
    done = subprocess.run(
        [curl, "-sS", "--fail", "-m", "5", *flag, f"http://127.0.0.1:{port}/check"], capture_output=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"curl: {done.stderr.decode().strip()}")
    return done.stdout


def open_idle(port, count, protocol):
    """Opens `count` connections that each get one reply and then stay silent; returns the sockets."""
    held = []
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port), 10)
        held.append(sock)
        if protocol == "Http2":
            # :method GET, :scheme http, :path /, :authority x
            block = b"\x82\x86\x84\x41\x01x"
            sock.sendall(_PREFACE + len(block).to_bytes(3, "big") + b"\1\5\0\0\0\1" + block)
            _read_h2_reply(sock)
        else:
            sock.sendall(request())
            if read_reply(sock)[0] != 200:
                raise RuntimeError("an idle connection's request was not answered with 200")
    return held


def _read_h2_reply(sock):
    buffer, body = b"", 0
    while True:
        while len(buffer) >= 9 and len(buffer) >= 9 + int.from_bytes(buffer[:3], "big"):
            length, kind, flags = int.from_bytes(buffer[:3], "big"), buffer[3], buffer[4]
            stream = int.from_bytes(buffer[5:9], "big")
            buffer = buffer[9 + length :]
            if kind == 4 and not flags & 1:
                sock.sendall(b"\0\0\0\4\1\0\0\0\0")
            if kind in (3, 7):
                raise RuntimeError("an idle connection's request was reset")
            body += length if kind == 0 else 0
            if stream == 1 and flags & 1 and kind in (0, 1):
                if body == 0:
                    raise RuntimeError("an idle connection's request got an empty body")
                return
        more = sock.recv(65536)
        if not more:
            raise ConnectionError("closed before the reply")
        buffer += more


def still_open(socks):
    """How many of the idle connections were not closed by the other side."""
    poll = select.poll()
    by_fd = {s.fileno(): s for s in socks}
    for fd in by_fd:
        poll.register(fd, select.POLLIN | select.POLLHUP)
    closed = 0
    for fd, _ in poll.poll(0):
        try:
            closed += by_fd[fd].recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except OSError:
            closed += 1
    return len(socks) - closed
