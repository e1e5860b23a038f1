"""The case table. A case starts a peer once, samples it in every round, and stops it.

To add a case, append an entry to `CASES`; a new kind of load is a function from a port to a `LoadResult`.
"""

import dataclasses
import os
import resource
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import large, load
from .origin import FixedOrigin, StreamOrigin, matches_pattern, pattern
from .peers import Setup
from .proc import machine_busy_seconds
from .wire import curl_body, get, open_idle, still_open

MIB = 1 << 20
GIB = 1 << 30


@dataclass(frozen=True)
class Metric:
    """A measured number, in the unit that the label names."""

    key: str
    label: str
    digits: int = 1


@dataclass(frozen=True)
class Goal:
    """mosn's `metric` is to be at most (or at least) `limit`, times the `relative_to` peer's if there is one."""

    metric: str
    limit: float
    relative_to: str | None = None
    at_least: bool = False
    # Only meaningful when the proxy's cores are not shared with the load.
    needs_own_cores: bool = False


@dataclass(frozen=True)
class Placement:
    """Which cores do what. With fewer than four, the load and the origin share one core."""

    proxy: str
    two_workers: str
    load: str
    origin: str
    shared: bool

    @staticmethod
    def here():
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) >= 4:
            a, b, c, d = cores[:4]
            return Placement(str(a), f"{a},{b}", str(c), str(d), False)
        if len(cores) >= 2:
            a, b = cores[:2]
            return Placement(str(a), f"{a},{b}", str(b), str(b), True)
        raise SystemExit("the measurements need two cores")


@dataclass
class Bench:
    """What every case needs: tools, placement, scratch folder, and how long to measure."""

    tools: dict
    placement: Placement
    out: Path
    seconds: int
    warm_seconds: int
    idle_connections: int
    body_bytes: int


@dataclass
class Case:
    """Base of all cases."""

    name: str
    title: str
    goals: tuple = ()
    metrics = ()
    primary = ""
    rounds = None  # None: as many as the command line says

    def fits(self, peer):
        return True

    def open(self, bench):
        """Starts what all peers share."""

    def close(self):
        """Stops it."""

    def prepare(self, bench, peer):
        """Starts one peer; the returned object is handed to `sample` and has a `stop`."""
        raise NotImplementedError

    def sample(self, bench, peer, running):
        """One measurement: {metric key: value}."""
        raise NotImplementedError


def folder(bench, case, peer):
    return bench.out / case.name / peer.name


@dataclass
class Traffic(Case):
    """CPU per request, throughput, latency and memory under load."""

    downstream: str = "Http1"
    upstream: str = "Http1"
    # Peers without an upstream side of this protocol run with HTTP/1.1 there when true, else sit out.
    lenient_upstream: bool = False
    access_log: bool = False
    connections: int = 64
    streams: int = 1
    rate: int | None = None
    metrics = (
        Metric("us", "CPU us/request"),
        Metric("user_us", "user"),
        Metric("system_us", "sys"),
        Metric("rps", "requests/s", 0),
        Metric("p50", "p50 us", 0),
        Metric("p99", "p99 us", 0),
        Metric("p999", "p99.9 us", 0),
        Metric("rss_mb", "RSS MB"),
        Metric("proxy_core", "proxy core busy %", 0),
        Metric("others_core", "other programs %", 0),
    )
    primary = "us"
    origin: FixedOrigin = field(default=None, repr=False)

    def setup_for(self, bench, peer):
        upstream = self.upstream
        if self.lenient_upstream and upstream not in peer.upstreams:
            upstream = "Http1"
        return Setup(
            self.downstream,
            upstream,
            self.origin.port(upstream) if self.origin else 0,
            access_log=self.access_log,
            cores=bench.placement.proxy if bench else "0",
        )

    def fits(self, peer):
        return peer.fits(self.setup_for(None, peer))

    def open(self, bench):
        self.origin = FixedOrigin(bench.tools, bench.out / self.name / "origin", bench.placement.origin)

    def close(self):
        self.origin.stop()

    def prepare(self, bench, peer):
        return peer.start(self.setup_for(bench, peer), folder(bench, self, peer))

    def drive(self, bench, port, seconds, log=None):
        cores = bench.placement.load
        if self.rate or self.downstream == "Http2":
            http1 = self.downstream == "Http1"
            return load.h2load(port, self.connections, self.streams, seconds, cores, http1, self.rate, log)
        status, head, body = get(port)
        if status != 200 or body != FixedOrigin.body:
            raise load.WrongReply(f"status {status}, {len(body)} body bytes")
        return load.wrk(port, self.connections, seconds, cores, head + len(body))

    def sample(self, bench, peer, running):
        self.compare(bench, running.port)
        self.drive(bench, running.port, bench.warm_seconds)
        log = folder(bench, self, peer) / "h2load.log" if self.rate else None
        before = (running.cpu(), self.origin.cpu_seconds(), own_cpu(), machine_busy_seconds(), time.monotonic())
        result = self.drive(bench, running.port, bench.seconds, log)
        after = (running.cpu(), self.origin.cpu_seconds(), own_cpu(), machine_busy_seconds(), time.monotonic())
        self.compare(bench, running.port)
        if log:
            log.unlink()

        cpu = after[0] - before[0]
        user, system = cpu.split()
        wall = after[4] - before[4]
        ours = cpu.total + (after[1] - before[1]) + (after[2] - before[2])
        return {
            "us": cpu.total / result.requests * 1e6,
            "user_us": user / result.requests * 1e6,
            "system_us": system / result.requests * 1e6,
            "rps": result.requests / result.seconds,
            "p50": result.p50,
            "p99": result.p99,
            "p999": result.p999,
            "rss_mb": running.rss() / MIB,
            "proxy_core": 100 * cpu.total / wall,
            "others_core": max(0.0, 100 * (after[3] - before[3] - ours) / wall),
        }

    def compare(self, bench, port):
        if curl_body(bench.tools["curl"], port, self.downstream) != FixedOrigin.body:
            raise load.WrongReply("curl got another body than the origin sends")


def own_cpu():
    """CPU seconds of this process and of its finished children: the load generators."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


class FeaturesMixin:
    """A traffic case for one program twice, without and with retries, breakers, checks and outlier detection.

    The two take turns within a round, each first as often as the other, so that both see the same noise.
    """

    metrics = (
        Metric("grows", "with features / without, CPU us/request", 3),
        Metric("without_us", "without", 2),
        Metric("with_us", "with", 2),
        Metric("user_grows", "with / without, user time only", 3),
    )
    primary = "grows"
    turns = 4

    def fits(self, peer):
        return peer.name == "mosn"

    def prepare(self, bench, peer):
        setup = self.setup_for(bench, peer)
        place = folder(bench, self, peer)
        plain = peer.start(setup, place / "without")
        try:
            full = peer.start(dataclasses.replace(setup, features=True), place / "with")
        except BaseException:
            plain.stop()
            raise
        return _Pair(plain, full)

    def sample(self, bench, peer, running):
        spent = {running.one: [], running.two: []}
        for process in spent:
            self.compare(bench, process.port)
            self.drive(bench, process.port, bench.warm_seconds)
        for turn in range(self.turns):
            for process in (running.one, running.two) if turn % 2 == 0 else (running.two, running.one):
                before = process.cpu()
                result = self.drive(bench, process.port, bench.seconds)
                cpu = process.cpu() - before
                spent[process].append((cpu.total / result.requests * 1e6, cpu.split()[0] / result.requests * 1e6))
        # What disturbs a measurement makes it larger.
        (without, without_user), (with_, with_user) = (map(min, zip(*found)) for found in spent.values())
        return {
            "grows": with_ / without,
            "without_us": without,
            "with_us": with_,
            "user_grows": with_user / without_user,
        }


@dataclass
class Features(FeaturesMixin, Traffic):
    """See the mixin."""


@dataclass
class TwoWorkers(Traffic):
    """The same load on one worker and on two, both free to use the same two cores."""

    metrics = (
        Metric("speedup", "two workers / one, throughput", 2),
        Metric("cost", "two workers / one, CPU per request", 2),
        Metric("balance", "busier worker's share of CPU %", 0),
        Metric("rps_one", "requests/s, one", 0),
        Metric("rps_two", "requests/s, two", 0),
    )
    primary = "speedup"

    def prepare(self, bench, peer):
        setup = dataclasses.replace(self.setup_for(bench, peer), cores=bench.placement.two_workers)
        one = peer.start(setup, folder(bench, self, peer) / "one")
        try:
            two = peer.start(dataclasses.replace(setup, workers=2), folder(bench, self, peer) / "two")
        except BaseException:
            one.stop()
            raise
        return _Pair(one, two)

    def sample(self, bench, peer, running):
        found = {}
        for word, process in (("one", running.one), ("two", running.two)):
            self.drive(bench, process.port, bench.warm_seconds)
            cpu, threads = process.cpu(), process.thread_cpu()
            result = self.drive(bench, process.port, bench.seconds)
            found[f"rps_{word}"] = result.requests / result.seconds
            found[f"us_{word}"] = (process.cpu() - cpu).total / result.requests * 1e6
            spent = sorted((now - threads.get(t, 0.0) for t, now in process.thread_cpu().items()), reverse=True)
        found["speedup"] = found["rps_two"] / found["rps_one"]
        found["cost"] = found["us_two"] / found["us_one"]
        found["balance"] = 100 * spent[0] / sum(spent)
        return found


@dataclass
class _Pair:
    one: object
    two: object

    def stop(self):
        self.one.stop()
        self.two.stop()


@dataclass
class IdleMemory(Traffic):
    """Resident memory of a proxy that does nothing, then with many connections that wait for a next request."""

    rounds = 1
    metrics = (
        Metric("idle_mb", "idle RSS MB"),
        Metric("kb_per_connection", "KB per idle connection", 2),
        Metric("connections", "connections", 0),
    )
    primary = "kb_per_connection"

    def sample(self, bench, peer, running):
        time.sleep(1.0)
        idle = running.rss()
        held = open_idle(running.port, 20, self.downstream)
        time.sleep(0.5)
        before = running.rss()
        try:
            held += open_idle(running.port, bench.idle_connections, self.downstream)
            time.sleep(2.0)
            if still_open(held) != len(held):
                raise load.WrongReply(f"only {still_open(held)} of {len(held)} idle connections are open")
            after = running.rss()
        finally:
            for sock in held:
                sock.close()
        return {
            "idle_mb": idle / MIB,
            "kb_per_connection": (after - before) / 1024 / bench.idle_connections,
            "connections": bench.idle_connections,
        }


@dataclass
class LargeBodies(Case):
    """One huge body each way; every byte is checked at the other end."""

    rounds = 1
    metrics = (
        Metric("download_mb", "download adds MB"),
        Metric("upload_mb", "upload adds MB"),
        Metric("download_cpu", "download CPU s/GB", 2),
        Metric("upload_cpu", "upload CPU s/GB", 2),
    )
    primary = "download_cpu"
    origin: StreamOrigin = field(default=None, repr=False)

    def open(self, bench):
        self.origin = StreamOrigin(bench.out / self.name / "origin", bench.placement.origin)

    def close(self):
        self.origin.stop()

    def prepare(self, bench, peer):
        setup = Setup("Http1", "Http1", self.origin.http1, cores=bench.placement.proxy, stream_bodies=True)
        return peer.start(setup, folder(bench, self, peer))

    def sample(self, bench, peer, running):
        found = {}
        for word, transfer in (("download", download), ("upload", upload)):
            transfer(running.port, 1 * MIB)
            running.reset_peak()
            before, cpu = running.rss(), running.cpu()
            transfer(running.port, bench.body_bytes)
            found[f"{word}_mb"] = max(0, running.peak_rss() - before) / MIB
            found[f"{word}_cpu"] = (running.cpu() - cpu).total * GIB / bench.body_bytes
        return found


def download(port, length):
    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        sock.sendall(f"GET /{length} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n".encode())
        stream = sock.makefile("rb", 1 << 18)
        status = stream.readline()
        chunked = False
        while (line := stream.readline()) not in (b"\r\n", b""):
            chunked |= line.lower().startswith(b"transfer-encoding:")
        position = 0
        while position < length:
            size = int(stream.readline(), 16) if chunked else length
            end = position + size
            while position < end:
                data = stream.read1(min(1 << 18, end - position))
                if not data or not matches_pattern(position, data):
                    raise load.WrongReply(f"{status!r}: wrong or missing bytes after {position}")
                position += len(data)
            if chunked:
                stream.readline()
    if b" 200" not in status:
        raise load.WrongReply(f"{status!r}")


def upload(port, length):
    with socket.create_connection(("127.0.0.1", port), 60) as sock:
        head = f"POST / HTTP/1.1\r\nHost: bench\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
        sock.sendall(head.encode())
        sent = 0
        while sent < length:
            chunk = pattern(sent, length - sent)
            sock.sendall(chunk)
            sent += len(chunk)
        reply = b""
        while more := sock.recv(65536):
            reply += more
    if b" 200" not in reply.split(b"\r\n")[0] or str(length).encode() not in reply.split(b"\r\n\r\n", 1)[1]:
        raise load.WrongReply(f"the origin did not get the upload whole: {reply!r}")


@dataclass
class LargeConfig(Case):
    """How long until a huge configuration serves, and what it weighs."""

    rounds = 1
    metrics = (
        Metric("ready_s", "ready after s", 2),
        Metric("rss_mb", "RSS MB", 0),
        Metric("config_mb", "config file MB", 0),
    )
    primary = "ready_s"
    clusters: int = 10000
    hosts: int = 10
    virtual_hosts: int = 10000
    routes: int = 10
    folders: bool = False
    origin: FixedOrigin = field(default=None, repr=False)

    def fits(self, peer):
        return peer.name in ("mosn", "mosn-go") or (peer.name == "envoy" and not self.folders)

    def open(self, bench):
        self.origin = FixedOrigin(bench.tools, bench.out / self.name / "origin", bench.placement.origin)

    def close(self):
        self.origin.stop()

    def prepare(self, bench, peer):
        place = folder(bench, self, peer)
        place.mkdir(parents=True, exist_ok=True)
        return large.Prepared(peer, self, bench, place)

    def sample(self, bench, peer, running):
        return running.measure()


CASES = [
    Traffic(
        "http1",
        "HTTP/1.1, 64 connections, 1 KiB",
        goals=(Goal("us", 0.95, "nginx"), Goal("us", 0.35, "envoy"), Goal("p99", 1.0, "nginx")),
    ),
    Traffic(
        "http1-log",
        "HTTP/1.1, 64 connections, 1 KiB, access log on",
        goals=(Goal("us", 1.1, "nginx"),),
        access_log=True,
    ),
    Traffic(
        "http2-8x16",
        "HTTP/2 both sides, 8 connections x 16 streams, 1 KiB (nginx: HTTP/1.1 upstream)",
        goals=(Goal("us", 1.15, "haproxy"), Goal("us", 0.45, "envoy")),
        downstream="Http2",
        upstream="Http2",
        lenient_upstream=True,
        connections=8,
        streams=16,
    ),
    Traffic(
        "http2-1x100",
        "HTTP/2 both sides, 1 connection x 100 streams, 1 KiB (nginx: HTTP/1.1 upstream)",
        goals=(Goal("us", 1.15, "haproxy"), Goal("us", 0.45, "envoy")),
        downstream="Http2",
        upstream="Http2",
        lenient_upstream=True,
        connections=1,
        streams=100,
    ),
    Traffic(
        "http2-to-http1",
        "HTTP/2 to HTTP/1.1, 8 connections x 16 streams, 1 KiB",
        goals=(Goal("us", 1.15, "haproxy"), Goal("us", 0.45, "envoy")),
        downstream="Http2",
        upstream="Http1",
        connections=8,
        streams=16,
    ),
    Traffic(
        "http2-to-http1-1x100",
        "HTTP/2 to HTTP/1.1, 1 connection x 100 streams, 1 KiB",
        goals=(Goal("us", 1.15, "haproxy"), Goal("us", 0.45, "envoy")),
        downstream="Http2",
        upstream="Http1",
        connections=1,
        streams=100,
    ),
    Traffic(
        "http1-to-http2",
        "HTTP/1.1 to HTTP/2, 64 connections, 1 KiB",
        downstream="Http1",
        upstream="Http2",
    ),
    Traffic(
        "latency-http1",
        "HTTP/1.1 latency, 64 connections, 8,000 requests/s",
        goals=(Goal("p99", 1.0, "nginx"),),
        rate=8000,
    ),
    Traffic(
        "latency-http2",
        "HTTP/2 latency, 8 connections x 16 streams, 8,000 requests/s",
        goals=(Goal("p99", 1.0, "nginx"),),
        downstream="Http2",
        upstream="Http2",
        lenient_upstream=True,
        connections=8,
        streams=16,
        rate=8000,
    ),
    IdleMemory(
        "idle-http1",
        "Idle memory, HTTP/1.1",
        goals=(Goal("idle_mb", 10), Goal("kb_per_connection", 2)),
    ),
    IdleMemory(
        "idle-http2",
        "Idle memory, HTTP/2",
        downstream="Http2",
        upstream="Http2",
        lenient_upstream=True,
    ),
    LargeBodies(
        "large-bodies",
        "A body of 1 GiB each way, HTTP/1.1",
        goals=(Goal("download_mb", 8), Goal("upload_mb", 8)),
    ),
    TwoWorkers(
        "two-workers",
        "Two workers against one, HTTP/1.1, 64 connections",
        goals=(Goal("speedup", 1.8, at_least=True, needs_own_cores=True),),
    ),
    Features(
        "features-http1",
        "HTTP/1.1, 64 connections, 1 KiB: all features on the route and cluster against none",
        goals=(Goal("grows", 1.03),),
    ),
    LargeConfig(
        "large-config",
        "10,000 clusters x 10 hosts, 10,000 virtual hosts x 10 routes",
        goals=(Goal("ready_s", 1.0), Goal("rss_mb", 120)),
    ),
    LargeConfig(
        "large-folders",
        "The same, one file for each cluster and virtual host",
        goals=(Goal("ready_s", 1.0), Goal("rss_mb", 120)),
        folders=True,
    ),
]
