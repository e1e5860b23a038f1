"""Processes: start them pinned, read their CPU time and memory, stop them."""

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

_handed_out = set()


@dataclass(frozen=True)
class CpuTime:
    """CPU time in seconds. `total` has nanosecond precision; the split has that of the clock tick."""

    total: float
    user: float
    system: float

    def __sub__(self, other):
        return CpuTime(self.total - other.total, self.user - other.user, self.system - other.system)

    def split(self):
        """(user, system) scaled so that they add up to the precise total."""
        ticks = self.user + self.system
        share = self.user / ticks if ticks > 0 else 0.0
        return self.total * share, self.total * (1.0 - share)


class Process:
    """A child in a process group of its own, pinned to the given cores."""

    def __init__(self, name, argv, cores, log, env=None, cwd=None):
        self.name = name
        self.log = Path(log)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        argv = ["taskset", "-c", cores, *map(str, argv)] if cores else list(map(str, argv))
        with open(self.log, "wb") as out:
            self.child = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )

        keep_nice(self.child.pid)

    @property
    def pid(self):
        return self.child.pid

    def running(self):
        return self.child.poll() is None

    def pids(self):
        """The process and its descendants (nginx and HAProxy fork workers)."""
        found, queue = [], [self.pid]
        while queue:
            pid = queue.pop()
            found.append(pid)
            for task in _tasks(pid):
                try:
                    queue.extend(int(p) for p in Path(f"/proc/{pid}/task/{task}/children").read_text().split())
                except OSError:
                    continue
        return found

    def cpu(self):
        total = user = system = 0.0
        for pid in self.pids():
            for task in _tasks(pid):
                try:
                    total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0]) / 1e9
                    stat = Path(f"/proc/{pid}/task/{task}/stat").read_text().rsplit(")", 1)[1].split()
                except OSError:
                    continue
                user += int(stat[11]) / TICKS_PER_SECOND
                system += int(stat[12]) / TICKS_PER_SECOND
        return CpuTime(total, user, system)

    def thread_cpu(self):
        """CPU seconds by thread."""
        spent = {}
        for pid in self.pids():
            for task in _tasks(pid):
                try:
                    spent[task] = int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0]) / 1e9
                except OSError:
                    continue
        return spent

    def rss(self):
        """Resident bytes, summed over the processes."""
        return sum(_status_bytes(pid, "VmRSS") for pid in self.pids())

    def peak_rss(self):
        """Highest resident bytes since `reset_peak`, summed over the processes."""
        return sum(_status_bytes(pid, "VmHWM") for pid in self.pids())

    def reset_peak(self):
        for pid in self.pids():
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def stop(self):
        if self.running():
            self._signal(signal.SIGTERM)
            try:
                self.child.wait(3)
            except subprocess.TimeoutExpired:
                self._signal(signal.SIGKILL)
                self.child.wait()
        # Workers that outlive their master are still in the group.
        self._signal(signal.SIGKILL)

    def _signal(self, number):
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            pass

    def tail(self, lines=15):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def _tasks(pid):
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def _status_bytes(pid, field):
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def keep_nice(pid):
    """Where the kernel groups processes by session, niceness counts within a session only: give it to the session too."""
    niceness = os.getpriority(os.PRIO_PROCESS, 0)
    if niceness:
        try:
            Path(f"/proc/{pid}/autogroup").write_text(str(niceness))
        except OSError:
            pass


def make_urgent(pids, priority):
    """Lets processes run before all others on their core (SCHED_FIFO), those of higher `priority` before those of lower.

    Where a generator or an origin waits for its core, that wait is in every latency that is measured, and has nothing to
    do with the proxy. Returns whether the machine allows it.
    """
    try:
        for pid in pids:
            for task in _tasks(pid):
                os.sched_setscheduler(int(task), os.SCHED_FIFO, os.sched_param(priority))
    except ProcessLookupError:
        pass
    except PermissionError:
        return False
    return True


def machine_busy_seconds():
    """CPU seconds that the whole machine has spent on anything, to see who else was running."""
    fields = [int(f) for f in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) / TICKS_PER_SECOND


def free_port():
    """A loopback port that nobody listens on now and that was not handed out before."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        if port not in _handed_out:
            _handed_out.add(port)
            return port


def wait_until(condition, seconds, what, process=None):
    """Polls `condition` until it is true; raises with the process's last words when it is not."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        if process is not None and not process.running():
            raise RuntimeError(f"{process.name} ended while waiting for {what}:\n{process.tail()}")
        time.sleep(0.005)
    words = f":\n{process.tail()}" if process is not None else ""
    raise RuntimeError(f"gave up after {seconds} s waiting for {what}{words}")
