"""The proxies under comparison: one class each, turning a `Setup` into a config and a command line."""

import json
from dataclasses import dataclass
from pathlib import Path

from . import tools
from .proc import Process, free_port, wait_until
from .wire import answers_200, answers_rpc

RPC = ("bolt", "dubbo")
# What `mosn bench load` calls.
SERVICE = "com.example.EchoService"


@dataclass(frozen=True)
class Setup:
    """What a proxy is asked to do in a case."""

    downstream: str  # Http1, Http2, or one of RPC
    upstream: str  # the same
    origin: int  # port on loopback
    access_log: bool = False
    workers: int = 1
    cores: str = "0"
    stream_bodies: bool = False
    # Retries, breakers, health checks, outlier detection and an added header on the one route.
    features: bool = False


class Peer:
    """A proxy program. Subclasses say how it is configured."""

    name = ""
    upstreams = ("Http1",)
    logs_access = False
    # Whether many RPC connections share a few to the upstream.
    multiplexes = False

    def __init__(self, binary):
        self.binary = binary

    def fits(self, setup):
        return setup.upstream in self.upstreams and (self.logs_access or not setup.access_log)

    def start(self, setup, folder, ready_seconds=20):
        """A running instance that has answered one request."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        argv, env = self.configure(setup, port, folder)
        process = Process(self.name, argv, setup.cores, folder / "log", env, cwd=folder)
        process.port = port
        try:
            wait_until(lambda: self.answers(setup, port), ready_seconds, "a first reply", process)
        except BaseException:
            process.stop()
            raise
        return process

    @staticmethod
    def answers(setup, port):
        if setup.downstream in RPC:
            return answers_rpc(tools.generator(), port, setup.downstream)
        return answers_200(port, setup.downstream, "/1" if setup.stream_bodies else "/")

    def configure(self, setup, port, folder):
        raise NotImplementedError


class Mosn(Peer):
    """mosn: the same file runs on the Go program."""

    name = "mosn"
    upstreams = ("Http1", "Http2", *RPC)
    logs_access = True
    multiplexes = True

    def configure(self, setup, port, folder):
        config = folder / "conf" / "mosn.json"
        config.parent.mkdir(exist_ok=True)
        config.write_text(json.dumps(self.document(setup, port, folder), indent=2))
        return [self.binary, "start", "-c", config], {"GOMAXPROCS": str(setup.workers)}

    def document(self, setup, port, folder):
        listener = {
            "name": "bench",
            "address": f"127.0.0.1:{port}",
            "bind_port": True,
            "access_logs": [{"log_path": str(folder / "access.log")}] if setup.access_log else [],
            "filter_chains": [{"filters": [self.proxy_filter(setup.downstream)]}],
        }
        route = {"cluster_name": "origin", "upstream_protocol": setup.upstream}
        match = {"prefix": "/"}
        if setup.downstream in RPC:
            match = {"headers": [{"name": "service", "value": SERVICE}]}
        routers = [{"match": match, "route": route}]
        cluster = {
            "name": "origin",
            "type": "SIMPLE",
            "lb_type": "LB_ROUNDROBIN",
            "hosts": [{"address": f"127.0.0.1:{setup.origin}"}],
        }
        if setup.features:
            route |= {
                "timeout": "3s",
                "retry_policy": {"retry_on": True, "num_retries": 2, "retry_timeout": "1s"},
                "request_headers_to_add": [{"header": {"key": "x-bench", "value": "on"}}],
            }
            limits = ["max_pending_requests", "max_requests", "max_retries"]
            # Where calls share connections it says over how many, which is another question.
            if setup.downstream not in RPC:
                limits.append("max_connections")
            cluster |= {
                "circuit_breakers": [{limit: 10_000 for limit in limits}],
                "health_check": {"service_name": "origin", "interval": "1s"},
                "outlier_detection": {"consecutive_5xx": 5, "interval": "1s"},
            }
        return {
            "disable_upgrade": True,
            "servers": [
                {
                    "mosn_server_name": "bench",
                    "default_log_path": str(folder / "mosn.log"),
                    "default_log_level": "ERROR",
                    "processor": setup.workers,
                    "listeners": [listener],
                    "routers": [
                        {
                            "router_config_name": "bench",
                            "virtual_hosts": [{"name": "all", "domains": ["*"], "routers": routers}],
                        }
                    ],
                }
            ],
            "cluster_manager": {"clusters": [cluster]},
        }

    @staticmethod
    def proxy_filter(downstream):
        config = {"downstream_protocol": downstream, "router_config_name": "bench"}
        if downstream == "Http2":
            config["extend_config"] = {"http2_use_stream": True}
        return {"type": "proxy", "config": config}


class GoMosn(Mosn):
    """Go MOSN; a route's `upstream_protocol` does not convert there, so it takes part where both sides agree."""

    name = "mosn-go"

    def fits(self, setup):
        return setup.upstream == setup.downstream


class Nginx(Peer):
    """nginx; RPC goes through its `stream` module, which forwards bytes and knows no requests."""

    name = "nginx"
    upstreams = ("Http1", *RPC)
    logs_access = True

    def fits(self, setup):
        return super().fits(setup) and (setup.downstream not in RPC or tools.nginx_stream_module() is not None)

    def configure(self, setup, port, folder):
        if setup.downstream in RPC:
            return self.configure_stream(setup, port, folder)
        h2 = " http2" if setup.downstream == "Http2" else ""
        log = f"access_log {folder}/access.log combined" if setup.access_log else "access_log off"
        bodies = (
            "client_max_body_size 0; proxy_request_buffering off; proxy_max_temp_file_size 0;"
            if setup.stream_bodies
            else ""
        )
        config = folder / "nginx.conf"
        config.write_text(f"""
worker_processes {setup.workers};
worker_rlimit_nofile 20000;
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 9000; }}
http {{
  {log};
  keepalive_requests 1000000000;
  keepalive_timeout 3600s;
  http2_max_concurrent_streams 1000;
  client_body_temp_path {folder}/tmp-body; proxy_temp_path {folder}/tmp-proxy;
  fastcgi_temp_path {folder}/tmp-f; uwsgi_temp_path {folder}/tmp-u; scgi_temp_path {folder}/tmp-s;
  upstream origin {{
    server 127.0.0.1:{setup.origin};
    keepalive 256;
    keepalive_requests 1000000000;
    keepalive_timeout 3600s;
  }}
  server {{
    listen 127.0.0.1:{port}{h2} backlog=4096;
    {bodies}
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
    }}
  }}
}}
""")
        return [self.binary, "-c", config, "-e", "stderr"], {}

    def configure_stream(self, setup, port, folder):
        config = folder / "nginx.conf"
        config.write_text(f"""
load_module {tools.nginx_stream_module()};
worker_processes {setup.workers};
worker_rlimit_nofile 20000;
daemon off;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 9000; }}
stream {{
  access_log off;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    tcp_nodelay on;
    proxy_timeout 3600s;
    proxy_pass 127.0.0.1:{setup.origin};
  }}
}}
""")
        return [self.binary, "-c", config, "-e", "stderr"], {}


class HAProxy(Peer):
    name = "haproxy"
    upstreams = ("Http1", "Http2")

    def configure(self, setup, port, folder):
        down = " proto h2" if setup.downstream == "Http2" else ""
        up = " proto h2" if setup.upstream == "Http2" else ""
        config = folder / "haproxy.cfg"
        config.write_text(f"""
global
  nbthread {setup.workers}
  maxconn 9000
defaults
  mode http
  http-reuse always
  timeout connect 5s
  timeout client 3600s
  timeout server 3600s
frontend bench
  bind 127.0.0.1:{port}{down} backlog 4096
  default_backend origin
backend origin
  server origin 127.0.0.1:{setup.origin}{up} pool-purge-delay 3600s
""")
        return [self.binary, "-db", "-f", config], {}


class Envoy(Peer):
    name = "envoy"
    upstreams = ("Http1", "Http2", "dubbo")

    def configure(self, setup, port, folder):
        document = envoy_document(
            port,
            setup.downstream,
            {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [envoy_route("/", "origin")]}]},
            [envoy_cluster("origin", setup.upstream, [setup.origin])],
        )
        if setup.downstream == "dubbo":
            document["static_resources"]["listeners"][0]["filter_chains"] = [{"filters": [envoy_dubbo("origin")]}]
        config = folder / "envoy.json"
        config.write_text(json.dumps(document))
        argv = [self.binary, "-c", config, "--concurrency", setup.workers, "--disable-hot-restart", "-l", "error"]
        return argv, {}


def envoy_route(prefix, cluster):
    return {"match": {"prefix": prefix}, "route": {"cluster": cluster, "timeout": "0s"}}


def envoy_cluster(name, protocol, ports, hosts=None):
    options = "http2_protocol_options" if protocol == "Http2" else "http_protocol_options"
    limits = {"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000}
    addresses = hosts or [("127.0.0.1", p) for p in ports]
    endpoints = [
        {"endpoint": {"address": {"socket_address": {"address": a, "port_value": p}}}} for a, p in addresses
    ]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {options: {}},
            }
        },
    }


def envoy_dubbo(cluster):
    kind = "envoy.extensions.filters.network.dubbo_proxy"
    router = {"@type": f"type.googleapis.com/{kind}.router.v3.Router"}
    route = {"match": {"method": {"name": {"safe_regex": {"regex": ".*"}}}}, "route": {"cluster": cluster}}
    proxy = {
        "@type": f"type.googleapis.com/{kind}.v3.DubboProxy",
        "stat_prefix": "bench",
        "protocol_type": "Dubbo",
        "serialization_type": "Hessian2",
        "route_config": [{"name": "all", "interface": SERVICE, "routes": [route]}],
        "dubbo_filters": [{"name": "envoy.filters.dubbo.router", "config": router}],
    }
    return {"name": "envoy.filters.network.dubbo_proxy", "typed_config": proxy}


def envoy_document(port, downstream, routes, clusters):
    http = "type.googleapis.com/envoy.extensions.filters"
    manager = {
        "@type": f"{http}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "codec_type": "HTTP2" if downstream == "Http2" else "HTTP1",
        "route_config": routes,
        "http_filters": [
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{http}.http.router.v3.Router"}}
        ],
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {
        "static_resources": {
            "listeners": [{"name": "bench", "address": address, "filter_chains": [chain]}],
            "clusters": clusters,
        }
    }


# Columns of every table, in this order.
PEERS = (Mosn, Nginx, HAProxy, Envoy, GoMosn)
