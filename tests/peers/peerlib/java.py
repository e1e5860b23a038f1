"""Clients and servers of tests/java: what a JVM is told by lines, and what it answers."""

import subprocess
import threading

from .programs import PEERS, find, scratch
from .suite import Wrong

# Which stack's server answers a client.
SERVER_OF = {"dubbo": "dubbo", "bolt": "bolt", "boltv2": "bolt", "boltv2-crc": "bolt", "sofarpc": "sofarpc", "tars": "tars"}
_CLASSPATH = PEERS / "java" / "classpath"
_OPTIONS = [
    # Started for seconds: quick to be there rather than quick for long.
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    "-Xmx512m",
    # Cases look for their connections among the kernel's IPv4 ones.
    "-Djava.net.preferIPv4Stack=true",
    # Hessian and TarsJava reach into the JDK.
    "--add-opens=java.base/java.lang=ALL-UNNAMED",
    "--add-opens=java.base/java.util=ALL-UNNAMED",
    "--add-exports=java.base/sun.reflect.generics.reflectiveObjects=ALL-UNNAMED",
]


class Jvm:
    """A running `mosn.peers.Main`; what it prints beside its answers is in a file."""

    def __init__(self, folder, *arguments):
        if not _CLASSPATH.exists():
            raise SystemExit("the Java peers are not built: run scripts/install-peers")
        self.name = " ".join(str(a) for a in arguments)
        self.log = folder / f"{'-'.join(str(a) for a in arguments[:2])}.log"
        with open(self.log, "ab") as errors:
            self.child = subprocess.Popen(
                # Libraries keep files in the home folder and logs beside it.
                [find("java"), *_OPTIONS, f"-Duser.home={folder}", f"-Dlogging.path={folder}/logs"]
                + ["-cp", f"{PEERS}/java/classes:{_CLASSPATH.read_text()}", "mosn.peers.Main", *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                cwd=folder,
            )

    def read(self):
        line = self.child.stdout.readline()
        if not line:
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])
            raise RuntimeError(f"{self.name} ended: {tail}")
        return line.rstrip("\n")

    def write(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()

    def stop(self):
        self.child.kill()
        self.child.wait(10)
        self.child.stdin.close()
        self.child.stdout.close()


class Server:
    """A stack's server on two ports. `kill` is SIGKILL; `start` returns when both ports are bound."""

    def __init__(self, stack, ports):
        self.stack, self.ports = stack, ports
        self.folder = scratch(f"java-{stack}")
        self.jvm = None
        self.begin()

    def begin(self):
        self.jvm = Jvm(self.folder, "serve", self.stack, *self.ports)

    def ready(self):
        line = self.jvm.read()
        if line != "serving":
            raise RuntimeError(f"{self.stack}'s server says {line!r}")

    def start(self):
        self.begin()
        self.ready()

    def stop(self):
        self.jvm.stop()


class Driver:
    """The clients of all stacks, in one JVM. A case that exceeds its time is ended with it."""

    def __init__(self, stacks, servers):
        self.servers = servers
        self.jvm = Jvm(scratch("java-clients"), "drive", *stacks)
        self.cases = []

    def ready(self):
        while (line := self.jvm.read()) != "ready":
            _, stack, title = line.split(" ", 2)
            self.cases.append((stack, title))

    def run(self, stack, port, way, title, seconds=120):
        watch = threading.Timer(seconds, self.jvm.child.kill)
        watch.start()
        try:
            self.jvm.write(f"run {stack} {port} {way} {title}")
            while (line := self.jvm.read()).startswith("do "):
                server = self.servers[SERVER_OF[stack]]
                {"kill": server.stop, "start": server.start}[line[3:]]()
                self.jvm.write("done")
        finally:
            watch.cancel()
        verdict, _, detail = line.partition(" ")
        if verdict != "ok":
            raise Wrong(detail)
        return detail

    def stop(self):
        self.jvm.stop()
