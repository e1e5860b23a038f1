"""An HTTP/2 client on python-hyper's h2 (needs `programs.use_venv`)."""

import socket
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from .raw import Reply


class Reset(Exception):
    """The stream or the connection was ended by the other side."""


class H2Client:
    """A cleartext connection with prior knowledge."""

    def __init__(self, port, timeout=10, lax=False):
        """`lax` lets malformed fields out."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.timeout = timeout
        strict = not lax
        config = h2.config.H2Configuration(
            client_side=True,
            header_encoding="utf-8",
            validate_outbound_headers=strict,
            normalize_outbound_headers=strict,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.initiate_connection()
        self.flush()
        self.streams = {}
        self.goaway = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def flush(self):
        self.socket.sendall(self.h2.data_to_send())

    def open(self, method, path, headers=(), end=True, **pseudo):
        """Sends a request's head; returns the stream's id."""
        stream = self.h2.get_next_available_stream_id()
        fields = [(":method", method), (":scheme", "http"), (":path", path), (":authority", "peer.test")]
        fields += [(f":{name}", value) for name, value in pseudo.items()]
        self.h2.send_headers(stream, [*fields, *headers], end_stream=end)
        self.streams[stream] = Reply(0, [])
        self.flush()
        return stream

    def open_with(self, pseudo, headers):
        """Sends the head of a POST whose pseudo fields are as given, however wrong."""
        stream = self.h2.get_next_available_stream_id()
        fields = {"method": "POST", "scheme": "http", "path": "/", "authority": "peer.test", **pseudo}
        self.h2.send_headers(stream, [(f":{name}", value) for name, value in fields.items()] + list(headers))
        self.streams[stream] = Reply(0, [])
        self.flush()
        return stream

    def data(self, stream, data, end=False):
        """Sends a body's piece, as the windows allow."""
        view = memoryview(data)
        while True:
            room = min(self.h2.local_flow_control_window(stream), self.h2.max_outbound_frame_size)
            if not view or room > 0:
                piece = view[:room]
                view = view[len(piece) :]
                self.h2.send_data(stream, piece.tobytes(), end_stream=end and not view)
                self.flush()
                if not view:
                    return
            else:
                self.receive()

    def request(self, method, path, headers=(), body=None, trailers=None):
        stream = self.open(method, path, headers, end=body is None)
        if body is not None:
            self.data(stream, body, end=trailers is None)
            if trailers is not None:
                self.h2.send_headers(stream, trailers, end_stream=True)
                self.flush()
        return self.reply(stream)

    def reply(self, stream):
        """Waits for the end of the reply."""
        deadline = time.monotonic() + self.timeout
        while not self.streams[stream].closed:
            if time.monotonic() > deadline:
                raise TimeoutError(f"no whole reply on stream {stream}")
            self.receive()
        return self.streams[stream]

    def receive(self):
        """Takes one read's worth of events."""
        data = self.socket.recv(65536)
        if not data:
            raise Reset("the connection was closed")
        for event in self.h2.receive_data(data):
            self._take(event)
        self.flush()
        return data

    def _take(self, event):
        reply = self.streams.get(getattr(event, "stream_id", None))
        if isinstance(event, h2.events.ConnectionTerminated):
            self.goaway = event.error_code
        elif reply is None:
            return
        elif isinstance(event, h2.events.InformationalResponseReceived):
            reply.interim.append((_status(event.headers), event.headers))
        elif isinstance(event, h2.events.ResponseReceived):
            reply.status, reply.headers = _status(event.headers), event.headers
        elif isinstance(event, h2.events.DataReceived):
            reply.body += event.data
            self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.TrailersReceived):
            reply.trailers = event.headers
        elif isinstance(event, h2.events.StreamEnded):
            reply.closed = True
        elif isinstance(event, h2.events.StreamReset) and reply.closed and not event.error_code:
            # The server has answered and wants no more of the request (RFC 9113, 8.1).
            return
        elif isinstance(event, h2.events.StreamReset):
            raise Reset(f"stream {event.stream_id} was reset with {event.error_code!r}")


def _status(headers):
    return int(dict(headers)[":status"])
