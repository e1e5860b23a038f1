"""HTTP/2 as raw frames, for what a well-behaved library would not send or would not survive."""

import socket
import struct
import threading
import time

from . import programs

DATA, HEADERS, PRIORITY, RST, SETTINGS, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
# :method GET, :scheme http, :path /, :authority x
GET_BLOCK = b"\x82\x86\x84\x41\x01x"
POST_BLOCK = b"\x83\x86\x84\x41\x01x"


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


class Frames:
    """A cleartext HTTP/2 connection of raw frames; a thread keeps reading, so that floods are not throttled by it."""

    def __init__(self, port, settings=b"", reading=True):
        self.socket = socket.create_connection(("127.0.0.1", port), 10)
        self.seen, self.closed, self.goaway = [], False, None
        self.socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + frame(SETTINGS, 0, 0, settings))
        if reading:
            threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def _read(self):
        buffer = b""
        try:
            while more := self.socket.recv(1 << 16):
                buffer += more
                while len(buffer) >= 9 and len(buffer) >= 9 + int.from_bytes(buffer[:3], "big"):
                    length = int.from_bytes(buffer[:3], "big")
                    kind, flags, stream = buffer[3], buffer[4], int.from_bytes(buffer[5:9], "big")
                    payload, buffer = buffer[9 : 9 + length], buffer[9 + length :]
                    self.seen.append((kind, flags, stream))
                    if kind in (PING, SETTINGS) and not flags & ACK:
                        self.socket.sendall(frame(kind, ACK, 0, payload if kind == PING else b""))
                    if kind == GOAWAY:
                        self.goaway = int.from_bytes(payload[4:8], "big")
        except OSError:
            pass
        self.closed = True

    def flood(self, make, count, batch=50, pause=0.0):
        """Sends `make(n)` for n up to `count`, or until the other side closes; returns how many went out."""
        sent = 0
        self.socket.settimeout(10)
        try:
            while sent < count and not self.closed:
                self.socket.sendall(b"".join(make(n) for n in range(sent, min(count, sent + batch))))
                sent += batch
                if pause:
                    time.sleep(pause)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            pass
        return min(sent, count)

    def ended(self, seconds=5):
        programs.wait_until(lambda: self.closed, seconds, "the connection to be closed")
