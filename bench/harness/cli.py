"""The command line: choose cases and peers, run them interleaved, write the report."""

import argparse
import os
import re
import shutil
import statistics
from datetime import date
from pathlib import Path

from . import tools
from .cases import CASES as HTTP_CASES
from .cases import GIB, MIB, Bench, Placement
from .load import WrongReply
from .peers import PEERS
from .proc import keep_nice
from .report import write
from .rpc import RPC_CASES

CASES = HTTP_CASES + RPC_CASES
BENCH = Path(__file__).resolve().parents[1]


def main():
    options = arguments()
    if options.list:
        for case in CASES:
            print(f"{case.name:18} {case.title}")
        return 0
    keep_nice(os.getpid())
    cases = [c for c in CASES if options.cases is None or c.name in options.cases]
    found = tools.require(["nginx", "haproxy", "wrk", "h2load", "curl", "taskset"])
    for name in ("nginx", "haproxy", "wrk", "h2load", "curl", "taskset"):
        if not found[name]:
            raise SystemExit(f"{name} is needed for every measurement")
    if any(case in RPC_CASES for case in cases):
        found["mosn bench"] = tools.generator()
    peers = installed_peers(options.peers, found)
    if not peers:
        raise SystemExit("none of the chosen peers is installed")

    out = BENCH / "out"
    shutil.rmtree(out, ignore_errors=True)
    bench = Bench(
        tools=found,
        placement=Placement.here(),
        out=out,
        seconds=options.seconds,
        warm_seconds=1,
        idle_connections=options.idle_connections,
        body_bytes=64 * MIB if options.quick else GIB,
    )
    results = [run_case(case, bench, peers, options.rounds) for case in cases]
    record = {
        "date": date.today().isoformat(),
        "cores": os.cpu_count(),
        "load_shares_a_core": bench.placement.shared,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "versions": {peer.name: peer_version(peer) for peer in peers},
        "cases": results,
    }
    results_dir = Path(options.out) if options.out else BENCH / "results"
    complete = options.cases is None and options.peers is None and not options.quick
    docs = tools.REPO / "docs" / "performance.md" if complete and not options.out else None
    text = write(record, results_dir, docs)
    print(text)
    failed = [e for r in results for e in r["errors"]]
    return 1 if failed else 0


def arguments():
    parser = argparse.ArgumentParser(
        prog="bench/run",
        description="Measures mosn beside its peers: CPU per request, throughput, latency, memory.",
        epilog="MOSN=path takes a built binary instead of building; MOSN_GO=path lets Go MOSN take part; "
        "MOSN_BENCH=path takes the RPC load from another build; ENVOY=path names Envoy. Nothing else should run on the "
        "machine meanwhile.",
    )
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--cases", type=lambda t: t.split(","), help="only these cases, comma-separated")
    parser.add_argument("--peers", type=lambda t: t.split(","), help="only these peers, e.g. mosn,nginx")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds per case; medians are reported")
    parser.add_argument("--seconds", type=int, default=4, help="measured seconds per round and peer")
    parser.add_argument("--idle-connections", type=int, default=5000)
    parser.add_argument("--quick", action="store_true", help="one short round: a check of the harness, not a result")
    parser.add_argument("--out", help="folder for the table and the JSON (default: bench/results)")
    options = parser.parse_args()
    names = {c.name for c in CASES}
    for name in options.cases or []:
        if name not in names:
            parser.error(f"no case {name!r}; there are {', '.join(sorted(names))}")
    for name in options.peers or []:
        if name not in {p.name for p in PEERS}:
            parser.error(f"no peer {name!r}; there are {', '.join(p.name for p in PEERS)}")
    if options.quick:
        options.rounds, options.seconds = 1, 1
        options.idle_connections = min(options.idle_connections, 500)
    return options


def installed_peers(chosen, found):
    where = {
        "mosn": tools.mosn,
        "nginx": lambda: found["nginx"],
        "haproxy": lambda: found["haproxy"],
        "envoy": tools.envoy,
        "mosn-go": tools.go_mosn,
    }
    peers = []
    for kind in PEERS:
        if chosen is not None and kind.name not in chosen:
            continue
        binary = where[kind.name]()
        if binary:
            peers.append(kind(binary))
        else:
            tools.say(f"{kind.name} is absent and takes no part")
    return peers


def peer_version(peer):
    """The number in what the program says of itself; Go MOSN built as a module has none."""
    said = {"mosn": ["version"], "nginx": ["-v"], "haproxy": ["-v"], "envoy": ["--version"]}.get(peer.name)
    line = tools.version([peer.binary, *said]) if said else None
    number = re.search(r"[/ ]v?(\d+\.\d+\.\d+)", line or "")
    return number.group(1) if number else None


def run_case(case, bench, peers, rounds):
    tools.say(f"\n{case.name}: {case.title}")
    rounds = case.rounds or rounds
    running, samples, errors = {}, {}, []
    case.open(bench)
    try:
        for peer in peers:
            if not case.fits(peer):
                continue
            try:
                running[peer.name] = (peer, case.prepare(bench, peer))
                samples[peer.name] = []
            except (RuntimeError, OSError) as error:
                errors.append(f"{peer.name} did not start: {error}")
                tools.say(f"  {errors[-1]}")
        for number in range(rounds):
            for name, (peer, process) in list(running.items()):
                try:
                    sample = case.sample(bench, peer, process)
                except (WrongReply, RuntimeError, OSError, ValueError) as error:
                    errors.append(f"{name}, round {number + 1}: {error}")
                    tools.say(f"  {errors[-1]}")
                    continue
                samples[name].append(sample)
                shown = ", ".join(
                    f"{m.label} {sample[m.key]:.{m.digits}f}" for m in case.metrics if sample.get(m.key) is not None
                )
                tools.say(f"  {name:8} {shown}")
    finally:
        for _, process in running.values():
            process.stop()
        case.close()
    medians = {name: median(rows) for name, rows in samples.items() if rows}
    return {
        "name": case.name,
        "title": case.title,
        "primary": case.primary,
        "metrics": [{"key": m.key, "label": m.label, "digits": m.digits} for m in case.metrics],
        "medians": medians,
        "samples": samples,
        "goals": [
            judge(goal, medians) for goal in case.goals if not (goal.needs_own_cores and bench.placement.shared)
        ],
        "errors": errors,
    }


def median(rows):
    keys = {k for row in rows for k, v in row.items() if v is not None}
    return {k: statistics.median(row[k] for row in rows if row.get(k) is not None) for k in sorted(keys)}


def judge(goal, medians):
    """The goal with mosn's figure beside it; `met` is None when there is nothing to compare."""
    value = medians.get("mosn", {}).get(goal.metric)
    if goal.relative_to is not None:
        base = medians.get(goal.relative_to, {}).get(goal.metric)
        value = value / base if value is not None and base else None
    met = None if value is None else (value >= goal.limit if goal.at_least else value <= goal.limit)
    return {
        "metric": goal.metric,
        "relative_to": goal.relative_to,
        "limit": goal.limit,
        "at_least": goal.at_least,
        "value": value,
        "met": met,
    }
