"""The ASGI application behind the proxy. It tells what it got and sends what the path asks for."""

import asyncio
import hashlib
import json
from urllib.parse import parse_qs


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    elif scope["type"] == "websocket":
        await websocket(receive, send)
    elif scope["type"] == "http":
        await HANDLERS.get(scope["path"].split("/")[1], echo)(scope, receive, send)


async def body_of(receive):
    """(length, sha256) of the request's body."""
    length, digest = 0, hashlib.sha256()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client went away in the body")
        length += len(message.get("body", b""))
        digest.update(message.get("body", b""))
        if not message.get("more_body", False):
            return length, digest.hexdigest()


async def reply(send, status, body=b"", headers=(), length=True):
    counted = [(b"content-length", str(len(body)).encode())] if length else []
    await send({"type": "http.response.start", "status": status, "headers": [*headers, *counted]})
    await send({"type": "http.response.body", "body": body})


async def echo(scope, receive, send):
    """Everything about the request, as JSON."""
    length, digest = await body_of(receive)
    seen = {
        "method": scope["method"],
        "path": scope["raw_path"].decode(),
        "query": scope["query_string"].decode(),
        "version": scope["http_version"],
        "headers": [[k.decode(), v.decode()] for k, v in scope["headers"]],
        "length": length,
        "sha256": digest,
    }
    await reply(send, 200, json.dumps(seen).encode(), [(b"content-type", b"application/json")])


async def status(scope, receive, send):
    """/status/404"""
    await body_of(receive)
    code = int(scope["path"].split("/")[2])
    bodiless = code in (204, 304)
    text = b"" if bodiless else f"status {code}".encode()
    await reply(send, code, text, [(b"x-origin", b"yes")], length=not bodiless)


async def bytes_of(scope, receive, send):
    """/bytes/1000: so many bytes in pieces, with a length; ?chunked without one."""
    await body_of(receive)
    total = int(scope["path"].split("/")[2])
    block = bytes(range(256)) * 64
    headers = [(b"content-type", b"application/octet-stream")]
    if b"chunked" not in scope["query_string"]:
        headers.append((b"content-length", str(total).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    sent = 0
    while sent < total:
        piece = block[: total - sent]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        sent += len(piece)
    await send({"type": "http.response.body", "body": b""})


async def cookies(scope, receive, send):
    """Two fields of one name."""
    await body_of(receive)
    await reply(send, 200, b"two", [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2; Path=/"), (b"x-many", b"1")])


async def slow(scope, receive, send):
    """/slow?s=1: answers later."""
    await body_of(receive)
    await asyncio.sleep(float(parse_qs(scope["query_string"].decode())["s"][0]))
    await reply(send, 200, b"late")


async def websocket(receive, send):
    """Echoes messages; `close` closes with 4001."""
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("text") == "close":
            await send({"type": "websocket.close", "code": 4001})
            return
        key = "text" if message.get("text") is not None else "bytes"
        await send({"type": "websocket.send", key: message[key]})


HANDLERS = {"status": status, "bytes": bytes_of, "cookies": cookies, "slow": slow}
