"""Huge configurations of the same shape for each peer that can take one as a file."""

import json
import time

from .peers import Envoy, Mosn, Setup, envoy_cluster, envoy_document
from .proc import Process, free_port, wait_until
from .wire import get

MIB = 1 << 20


class Prepared:
    """A written configuration; `measure` starts the peer on it."""

    def __init__(self, peer, shape, bench, folder):
        self.peer, self.shape, self.bench, self.folder = peer, shape, bench, folder
        self.port = free_port()
        self.process = None
        setup = Setup("Http1", "Http1", shape.origin.http1, cores=bench.placement.proxy)
        if isinstance(peer, Mosn):
            self.argv, self.env = self._mosn(peer, setup)
        elif isinstance(peer, Envoy):
            self.argv, self.env = self._envoy(peer, setup)
        else:
            raise ValueError(peer.name)

    def measure(self):
        """Starts the peer, asks for the last route of several hosts, and weighs it."""
        started = time.monotonic()
        self.process = Process(self.peer.name, self.argv, self.bench.placement.proxy, self.folder / "log", self.env)
        wait_until(lambda: self._answers(0), 120, "a reply from the huge configuration", self.process)
        ready = time.monotonic() - started
        for host in (self.shape.virtual_hosts // 2, self.shape.virtual_hosts - 1):
            if not self._answers(host):
                raise RuntimeError(f"virtual host {host} does not answer")
        time.sleep(1.0)
        return {
            "ready_s": ready,
            "rss_mb": self.process.rss() / MIB,
            "config_mb": sum(file.stat().st_size for file in self.folder.rglob("*.json")) / MIB,
        }

    def stop(self):
        if self.process:
            self.process.stop()

    def _answers(self, host):
        try:
            last = self.shape.routes - 1
            return get(self.port, f"/r{last}/x", f"service-{host}.example.com", 30)[0] == 200
        except (OSError, ValueError, IndexError):
            return False

    def _hosts(self, cluster):
        # The last route of every virtual host leads to cluster 0, which is the real origin.
        if cluster == 0:
            return [("127.0.0.1", self.shape.origin.http1)]
        return [(f"10.{h}.{cluster // 250}.{cluster % 250 + 1}", 8080) for h in range(self.shape.hosts)]

    def _route_cluster(self, host, route):
        if route == self.shape.routes - 1:
            return "cluster-0"
        return f"cluster-{1 + (host * self.shape.routes + route) % (self.shape.clusters - 1)}"

    def _mosn(self, peer, setup):
        document = peer.document(setup, self.port, self.folder)
        document["cluster_manager"]["clusters"] = [
            {
                "name": f"cluster-{c}",
                "type": "SIMPLE",
                "lb_type": "LB_ROUNDROBIN",
                "hosts": [{"address": f"{a}:{p}"} for a, p in self._hosts(c)],
            }
            for c in range(self.shape.clusters)
        ]
        document["servers"][0]["routers"][0]["virtual_hosts"] = [
            {
                "name": f"service-{v}",
                "domains": [f"service-{v}.example.com"],
                "routers": [
                    {"match": {"prefix": f"/r{r}/"}, "route": {"cluster_name": self._route_cluster(v, r)}}
                    for r in range(self.shape.routes)
                ],
            }
            for v in range(self.shape.virtual_hosts)
        ]
        self.config = self.folder / "conf" / "mosn.json"
        self.config.parent.mkdir(exist_ok=True)
        if self.shape.folders:
            self._into_folder(document["cluster_manager"], "clusters", "clusters_configs")
            self._into_folder(document["servers"][0]["routers"][0], "virtual_hosts", "router_configs")
        self.config.write_text(json.dumps(document))
        return [peer.binary, "start", "-c", self.config], {"GOMAXPROCS": "1"}

    def _into_folder(self, owner, key, folder_key):
        folder = self.folder / key
        folder.mkdir(exist_ok=True)
        for item in owner.pop(key):
            (folder / f"{item['name']}.json").write_text(json.dumps(item))
        owner[folder_key] = str(folder)

    def _envoy(self, peer, setup):
        clusters = [
            envoy_cluster(f"cluster-{c}", "Http1", [], self._hosts(c)) for c in range(self.shape.clusters)
        ]
        hosts = [
            {
                "name": f"service-{v}",
                "domains": [f"service-{v}.example.com"],
                "routes": [
                    {"match": {"prefix": f"/r{r}/"}, "route": {"cluster": self._route_cluster(v, r)}}
                    for r in range(self.shape.routes)
                ],
            }
            for v in range(self.shape.virtual_hosts)
        ]
        self.config = self.folder / "envoy.json"
        self.config.write_text(json.dumps(envoy_document(self.port, "Http1", {"virtual_hosts": hosts}, clusters)))
        return [peer.binary, "-c", self.config, "--concurrency", "1", "--disable-hot-restart", "-l", "error"], {}
