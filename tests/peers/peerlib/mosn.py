"""The binary under test: a configuration in a few words, and the running process."""

import json
import os
from dataclasses import dataclass, field

from .programs import Program, free_port, mosn_binary, scratch


@dataclass
class Listener:
    """A listener with a router of its own. `limits` are extra keys of the protocol's `extend_config`."""

    name: str
    downstream: str
    routes: list
    limits: dict = field(default_factory=dict)
    idle_timeout: str | None = None
    port: int = field(default_factory=free_port)


def to(cluster, upstream=None, prefix="/", **more):
    """A route to a cluster."""
    action = {"cluster_name": cluster, **({"upstream_protocol": upstream} if upstream else {}), **more}
    return {"match": {"prefix": prefix}, "route": action}


def cluster(name, *ports, **more):
    hosts = [{"address": f"127.0.0.1:{port}"} for port in ports]
    return {"name": name, "type": "SIMPLE", "lb_type": "LB_ROUNDROBIN", "hosts": hosts, **more}


def document(folder, listeners, clusters, workers=1):
    return {
        "disable_upgrade": True,
        "servers": [
            {
                "mosn_server_name": "peers",
                "default_log_path": f"{folder}/logs/mosn.log",
                "default_log_level": "INFO",
                "processor": workers,
                "listeners": [_listener(folder, entry) for entry in listeners],
                "routers": [
                    {
                        "router_config_name": entry.name,
                        "virtual_hosts": [{"name": "all", "domains": ["*"], "routers": entry.routes}],
                    }
                    for entry in listeners
                ],
            }
        ],
        "cluster_manager": {"clusters": clusters},
    }


def _listener(folder, entry):
    proxy = {"downstream_protocol": entry.downstream, "router_config_name": entry.name}
    # Go MOSN streams HTTP/2 bodies only when told so.
    extend = {"Http1": {}, "Http2": {"http2_use_stream": True}}
    for protocol, keys in extend.items():
        keys.update(entry.limits)
    if entry.downstream in extend:
        extend = extend[entry.downstream]
    elif entry.limits and entry.downstream != "Auto":
        extend = entry.limits
    proxy["extend_config"] = extend
    config = {
        "name": entry.name,
        "address": f"127.0.0.1:{entry.port}",
        "bind_port": True,
        "access_logs": [{"log_path": f"{folder}/logs/{entry.name}.log"}],
        "filter_chains": [{"filters": [{"type": "proxy", "config": proxy}]}],
    }
    if entry.idle_timeout is not None:
        config["connection_idle_timeout"] = entry.idle_timeout
    return config


class Mosn(Program):
    """A running proxy; `folder` holds its config and logs."""

    def __init__(self, listeners, clusters, workers=1, options=()):
        self.folder = scratch("peer")
        (self.folder / "conf").mkdir()
        (self.folder / "logs").mkdir()
        self.config = self.folder / "conf" / "mosn.json"
        self.config.write_text(json.dumps(document(self.folder, listeners, clusters, workers), indent=2))
        argv = [mosn_binary(), "start", "-c", self.config, *options]
        environment = {"GOMAXPROCS": str(workers)} if "mosn-go" in os.environ.get("MOSN", "") else {}
        super().__init__("mosn", argv, self.folder / "out", [e.port for e in listeners], self.folder, environment)

    def access_log(self, listener):
        path = self.folder / "logs" / f"{listener}.log"
        return path.read_text().splitlines() if path.exists() else []
