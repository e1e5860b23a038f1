"""The RPC cases. Load and origin are `mosn bench`, which checks every reply byte for byte."""

import time
from dataclasses import dataclass

from . import load
from .cases import MIB, FeaturesMixin, Goal, Metric, Traffic
from .origin import EchoOrigin
from .proc import make_urgent

# What a latency may add besides a share of the direct connection's, in microseconds.
ALLOWANCE_US = 100

# Where the search for a rate begins, in requests per second.
FIRST_RATE = 10_000

# Where latencies are measured, nobody is to wait for a core: who measures comes first, then whoever is measured. Load
# beside it gets what is left, or the kernel would hold up all of them for their share of each second (sched_rt_runtime_us).
MEASURING, MEASURED = 30, 20


@dataclass
class RpcTraffic(Traffic):
    """CPU per request and throughput under closed-loop load, the same protocol on both sides."""

    protocol: str = "bolt"
    metrics = tuple(m for m in Traffic.metrics if m.key != "p999")

    def __post_init__(self):
        self.downstream = self.upstream = self.protocol

    def open(self, bench):
        self.origin = EchoOrigin(bench.tools["mosn bench"], self.protocol, bench.out / self.name, bench.placement.origin)

    def drive(self, bench, port, seconds, log=None):
        return self.load(bench, port, seconds)

    def load(self, bench, port, seconds, **more):
        how = {"connections": self.connections, "outstanding": self.streams, **more}
        return load.rpc(bench.tools["mosn bench"], self.protocol, port, seconds, bench.placement.load, **how)

    def compare(self, bench, port):
        """Nothing to do: the generator compares every body."""

    def make_urgent(self, running):
        if not make_urgent([*self.origin.process.pids(), *running.pids()], MEASURED):
            print(f"  {self.name}: no leave to set priorities, so latencies are also those of the scheduler")


@dataclass
class RpcFeatures(FeaturesMixin, RpcTraffic):
    """See the mixin."""


@dataclass
class RpcLatency(RpcTraffic):
    """Latency at the rate that keeps the peer's core half busy, next to a direct connection at the same rate.

    Requests that arrive by themselves, without the savings of a batch, cost more than in a closed loop, and the less so
    the more there are: the rate is found in a few steps.
    """

    metrics = (
        Metric("rate", "requests/s", 0),
        Metric("p50", "p50 us", 0),
        Metric("p99", "p99 us", 0),
        Metric("direct_p50", "direct p50 us", 0),
        Metric("direct_p99", "direct p99 us", 0),
        Metric("over", f"(p99 - {ALLOWANCE_US} us) / direct p99", 2),
        Metric("us", "CPU us/request"),
    )
    primary = "over"

    def sample(self, bench, peer, running):
        # Nobody waits for a place: what is late is the proxy.
        open_loop = {"rate": FIRST_RATE, "outstanding": 1024, "urgent": MEASURING}
        self.make_urgent(running)
        for _ in range(3):
            cpu = running.cpu()
            result = self.load(bench, running.port, bench.warm_seconds, **open_loop)
            busy = (running.cpu() - cpu).total / result.seconds
            open_loop["rate"] = rate = int(open_loop["rate"] / busy / 2)
        found = []
        for port in (self.origin.port(self.protocol), running.port):
            cpu = running.cpu()
            result = self.load(bench, port, bench.seconds, warm_seconds=bench.warm_seconds, **open_loop)
            found.append((result, (running.cpu() - cpu).total / result.requests * 1e6))
        (direct, _), (through, us) = found
        return {
            "rate": rate,
            "p50": through.p50,
            "p99": through.p99,
            "direct_p50": direct.p50,
            "direct_p99": direct.p99,
            "over": max(0.0, through.p99 - ALLOWANCE_US) / direct.p99,
            "us": us,
        }


@dataclass
class RpcManyConnections(RpcTraffic):
    """Many downstream connections that each send one request a second."""

    rounds = 1
    metrics = (
        Metric("idle_mb", "RSS before MB"),
        Metric("rss_mb", "RSS MB"),
        Metric("us", "CPU us/request"),
        Metric("p50", "p50 us", 0),
        Metric("p99", "p99 us", 0),
        Metric("connections", "connections", 0),
    )
    primary = "rss_mb"

    def fits(self, peer):
        # Two descriptors for each connection are more than the limit of 20,000 that most machines have.
        return peer.multiplexes and super().fits(peer)

    def sample(self, bench, peer, running):
        connections = bench.idle_connections * 2
        idle, cpu = running.rss(), running.cpu()
        highest = idle

        def watch():
            nonlocal highest
            highest = max(highest, running.rss())

        result = self.load(
            bench,
            running.port,
            max(bench.seconds, 3),
            connections=connections,
            outstanding=4,
            rate=connections,
            warm_seconds=2,
            meanwhile=watch,
        )
        return {
            "idle_mb": idle / MIB,
            "rss_mb": highest / MIB,
            "us": (running.cpu() - cpu).total / result.requests * 1e6,
            "p50": result.p50,
            "p99": result.p99,
            "connections": connections,
        }


@dataclass
class RpcFairness(RpcTraffic):
    """A light connection's latency, alone and beside one that sends large requests back to back."""

    metrics = (
        Metric("alone_p99", "p99 us, alone", 0),
        Metric("beside_p99", "p99 us, beside", 0),
        Metric("raised", "p99, beside / alone", 2),
        Metric("direct_raised", "the same without a proxy", 2),
        Metric("heavy_mb", "large requests MB/s", 0),
    )
    primary = "raised"
    heavy_body: int = 64 * 1024
    light_rate: int = 1000

    def sample(self, bench, peer, running):
        self.make_urgent(running)
        alone, beside, heavy = self.compare_light(bench, running.port)
        direct_alone, direct_beside, _ = self.compare_light(bench, self.origin.port(self.protocol))
        return {
            "alone_p99": alone,
            "beside_p99": beside,
            "raised": beside / alone,
            "direct_raised": direct_beside / direct_alone,
            "heavy_mb": heavy * self.heavy_body / MIB,
        }

    def compare_light(self, bench, port):
        light = {"connections": 1, "outstanding": 1024, "rate": self.light_rate, "urgent": MEASURING}
        self.load(bench, port, bench.warm_seconds, **light)
        alone = self.load(bench, port, bench.seconds, **light)
        heavy = load.start_rpc(
            bench.tools["mosn bench"],
            self.protocol,
            port,
            bench.seconds + 1,
            bench.placement.load,
            connections=1,
            outstanding=4,
            body=self.heavy_body,
        )
        time.sleep(0.5)
        beside = self.load(bench, port, bench.seconds, **light)
        heavy = load.rpc_result(heavy, bench.seconds + 1)
        return alone.p99, beside.p99, heavy.requests / heavy.seconds


def _traffic(protocol, connections, outstanding, goals):
    many = f"{connections} connection{'s' * (connections > 1)}"
    title = f"{protocol.capitalize()}, {many} x {outstanding}, 1 KiB (nginx: stream)"
    name = f"{protocol}-{connections}x{outstanding}"
    return RpcTraffic(name, title, goals, protocol=protocol, connections=connections, streams=outstanding)


RPC_CASES = [
    _traffic("bolt", 64, 1, (Goal("us", 0.9, "nginx"), Goal("us", 0.33, "mosn-go"))),
    _traffic("bolt", 8, 32, (Goal("us", 1.5, "nginx"), Goal("us", 0.1, "mosn-go"))),
    _traffic("bolt", 1, 128, (Goal("us", 1.5, "nginx"), Goal("us", 0.1, "mosn-go"))),
    _traffic("dubbo", 64, 1, (Goal("us", 0.4, "envoy"), Goal("us", 0.33, "mosn-go"))),
    _traffic("dubbo", 8, 32, (Goal("us", 0.15, "envoy"), Goal("us", 0.1, "mosn-go"))),
    RpcFeatures(
        "features-bolt",
        "Bolt, 64 connections x 1, 1 KiB: all features on the route and cluster against none",
        goals=(Goal("grows", 1.03),),
    ),
    RpcLatency(
        "latency-bolt",
        "Bolt latency with the proxy's core half busy, 64 connections",
        goals=(Goal("over", 1.2),),
    ),
    RpcLatency(
        "latency-dubbo",
        "Dubbo latency with the proxy's core half busy, 64 connections",
        goals=(Goal("over", 1.2),),
        protocol="dubbo",
    ),
    RpcManyConnections(
        "bolt-connections",
        "Bolt, 10,000 connections, one request a second on each",
        goals=(Goal("rss_mb", 40),),
    ),
    RpcFairness(
        "bolt-fairness",
        "Bolt, 1,000 requests/s beside a connection with 64 KiB requests back to back",
        goals=(Goal("raised", 3),),
    ),
]
