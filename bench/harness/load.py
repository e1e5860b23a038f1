"""Load generators: wrk for HTTP/1.1, h2load for HTTP/2 and for fixed rates, `mosn bench` for RPC; every reply is
accounted for."""

import json
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .origin import BODY_BYTES
from .proc import make_urgent

WRK_SCRIPT = Path(__file__).with_name("wrk.lua")


class WrongReply(Exception):
    """A reply was missing, had the wrong status, or had the wrong length."""


@dataclass
class LoadResult:
    """One run of a generator. Latencies in microseconds, None when not measured."""

    requests: int
    seconds: float
    p50: float | None = None
    p99: float | None = None
    p999: float | None = None


def wrk(port, connections, seconds, cores, reply_bytes):
    """Closed-loop HTTP/1.1 load; `reply_bytes` is the size of one whole reply, head included."""
    out = _run(
        ["taskset", "-c", cores, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(WRK_SCRIPT)]
        + [f"http://127.0.0.1:{port}/"],
        seconds,
    )
    done = json.loads(out[out.rindex("wrk-json:") + len("wrk-json:") :].splitlines()[0])
    if done["bad_status"] or done["socket_errors"]:
        raise WrongReply(f"wrk saw {done['bad_status']} bad statuses and {done['socket_errors']} socket errors")
    # Replies still under way at the end count as bytes but not as requests.
    surplus = done["bytes"] - done["requests"] * reply_bytes
    if not -reply_bytes <= surplus <= connections * reply_bytes:
        raise WrongReply(f"{done['requests']} replies of {reply_bytes} bytes do not make {done['bytes']} bytes")
    return LoadResult(done["requests"], done["us"] / 1e6, done["p50"], done["p99"], done["p999"])


def h2load(port, connections, streams, seconds, cores, http1=False, rate=None, log=None):
    """HTTP/2 load (or HTTP/1.1): closed loop, or `rate` requests per second in all with latencies from `log`."""
    argv = ["taskset", "-c", cores, "h2load", "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds}"]
    if http1:
        argv.append("--h1")
    if rate:
        argv.append(f"--rps={rate / connections}")
    if log:
        Path(log).unlink(missing_ok=True)
        argv.append(f"--log-file={log}")
    out = _run([*argv, f"http://127.0.0.1:{port}/"], seconds)

    counts = {}
    for number, word in re.findall(r"(\d+) (\w+)", _line(out, "requests:")):
        counts[word] = int(number)
    ok = int(re.search(r"(\d+) 2xx", _line(out, "status codes:")).group(1))
    data = int(re.search(r"\((\d+)\) data", _line(out, "traffic:")).group(1))
    seconds_taken = _seconds(re.search(r"finished in ([\d.]+\w+)", out).group(1))
    # Replies still under way at the end have a status, perhaps some bytes, but do not count as requests.
    done, under_way = counts["succeeded"], connections * streams
    if counts["failed"] or counts["errored"] or counts["timeout"] or done == 0 or not 0 <= ok - done <= under_way:
        raise WrongReply(f"h2load: {_line(out, 'requests:')}; {_line(out, 'status codes:')}")
    surplus = data - done * BODY_BYTES
    if not 0 <= surplus <= under_way * BODY_BYTES:
        raise WrongReply(f"{done} bodies of {BODY_BYTES} bytes do not make {data} bytes")
    result = LoadResult(done, seconds_taken)
    if log:
        result.p50, result.p99, result.p999 = _percentiles(log)
    return result


def rpc(mosn, protocol, port, seconds, cores, meanwhile=None, **how):
    """RPC load: `connections` with up to `outstanding` requests each, closed loop or at `rate` requests per second."""
    child = start_rpc(mosn, protocol, port, seconds, cores, **how)
    while meanwhile and child.poll() is None:
        meanwhile()
        time.sleep(0.1)
    return rpc_result(child, seconds + how.get("warm_seconds", 0))


def start_rpc(
    mosn, protocol, port, seconds, cores, connections, outstanding, rate=None, body=None, warm_seconds=0, urgent=None
):
    """The same, started and not waited for; `rpc_result` waits. `urgent` is a priority for `make_urgent`."""
    argv = ["taskset", "-c", cores, mosn, "bench", "load", protocol, "--target", f"127.0.0.1:{port}"]
    argv += [f"--connections={connections}", f"--outstanding={outstanding}", f"--duration={seconds}s"]
    argv += [f"--warmup={warm_seconds}s", "--json=/dev/stderr"]
    argv += [f"--rate={rate}"] if rate else []
    argv += [f"--body={body}"] if body else []
    child = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if urgent:
        make_urgent([child.pid], urgent)
    return child


def rpc_result(child, seconds):
    try:
        out, said = child.communicate(timeout=seconds * 4 + 30)
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise WrongReply(f"mosn bench did not end after {seconds} s") from None
    if child.returncode != 0:
        raise WrongReply(f"mosn bench: {out}{said if child.returncode != 1 else ''}")
    found = json.loads(said)
    if found["unsent"] > found["latency_us"]["count"] / 100:
        raise WrongReply(f"the rate was too much: {out}")
    latency = found["latency_us"]
    return LoadResult(
        found["replies"], found["duration_s"], latency["p50"], latency["p99"], latency["p99_9"]
    )


def _percentiles(log):
    durations = []
    with open(log) as lines:
        for line in lines:
            fields = line.split("\t")
            if len(fields) >= 3 and fields[1] == "200":
                durations.append(int(fields[2]))
    durations.sort()
    return tuple(durations[min(len(durations) - 1, int(len(durations) * q))] for q in (0.5, 0.99, 0.999))


def _run(argv, seconds):
    done = subprocess.run(argv, capture_output=True, text=True, timeout=seconds * 4 + 30)
    if done.returncode != 0:
        raise WrongReply(f"{argv[3]} failed: {done.stdout}{done.stderr}")
    return done.stdout


def _line(out, start):
    return next(line for line in out.splitlines() if line.startswith(start))


def _seconds(text):
    number, unit = re.match(r"([\d.]+)(\w+)", text).groups()
    return float(number) * {"s": 1, "ms": 1e-3, "us": 1e-6, "m": 60}[unit]
