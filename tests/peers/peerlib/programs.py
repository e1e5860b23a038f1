"""Programs: found on PATH or under the target directory, started, waited for, stopped."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPO = Path(__file__).resolve().parents[3]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target")).resolve()
# Where `scripts/install-peers` puts what no package brings.
PEERS = TARGET / "peers"

_handed_out = set()


def find(name):
    """Path of a program, or a clear end."""
    path = shutil.which(name, path=f"{PEERS}/bin:{PEERS}/venv/bin:{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None:
        raise SystemExit(f"{name} is not installed: run scripts/install-peers")
    return path


def use_venv():
    """Goes on under the Python that has the protocol libraries (h2, websockets, hypercorn)."""
    python = PEERS / "venv" / "bin" / "python"
    if Path(sys.prefix).resolve() == (PEERS / "venv").resolve():
        return
    if not python.exists():
        raise SystemExit("the Python protocol libraries are not installed: run scripts/install-peers")
    os.execv(python, [str(python), *sys.argv])


def mosn_binary():
    """`MOSN`, or a fresh debug build."""
    path = os.environ.get("MOSN")
    if path:
        return path
    subprocess.run(["cargo", "build", "-p", "mosn"], cwd=REPO, check=True)
    return str(TARGET / "debug" / "mosn")


def scratch(name):
    """A new empty folder, removed at exit unless KEEP is set."""
    path = Path(tempfile.mkdtemp(prefix=f"mosn-{name}-"))
    if not os.environ.get("KEEP"):
        import atexit

        atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def free_port():
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in _handed_out:
            _handed_out.add(port)
            return port


def listening(port):
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    except OSError:
        return False


def wait_until(condition, seconds, what, process=None):
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if process is not None and process.exit_code() is not None:
            raise RuntimeError(f"{process.name} ended while waiting for {what}: {process.tail()}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"gave up after {seconds} s waiting for {what}")
        time.sleep(0.01)


class Program:
    """A child process in a group of its own, with its output in a file."""

    def __init__(self, name, argv, log, ports=(), cwd=None, env=None):
        self.name, self.log = name, Path(log)
        with open(self.log, "ab") as out:
            self.child = subprocess.Popen(
                [str(a) for a in argv],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=cwd,
                env={**os.environ, **(env or {})},
                start_new_session=True,
            )
        try:
            for port in ports:
                wait_until(lambda port=port: listening(port), 20, f"port {port} of {name}", self)
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self):
        return self.child.pid

    def exit_code(self):
        return self.child.poll()

    def send(self, number):
        self.child.send_signal(number)

    def wait(self, seconds):
        return self.child.wait(seconds)

    def stop(self):
        for number, patience in ((signal.SIGTERM, 3), (signal.SIGKILL, 5)):
            try:
                os.killpg(self.pid, number)
            except ProcessLookupError:
                break
            try:
                self.child.wait(patience)
            except subprocess.TimeoutExpired:
                continue
        self.child.poll()

    def rss(self):
        text = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1)) * 1024

    def tail(self, lines=12):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def run(argv, seconds=60, **more):
    """Runs to the end; returns the finished process with bytes output."""
    return subprocess.run([str(a) for a in argv], capture_output=True, timeout=seconds, check=False, **more)
