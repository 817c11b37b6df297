# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A real Envoy, Traefik and nginx that read their members from a file, each without retries."""

from __future__ import annotations

import json
import pathlib
import shutil
import sys
import typing as t
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from ports import free_port
from processes import Program

BINARIES = pathlib.Path(sys.executable).parent


def answers(url: str) -> bool:
    """Whether a GET of it is answered with 200."""
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


class FileProxy:
    """What both share: a directory, a listener, and the file of members.

    The file must name a server that answers before the start: ready is who serves it.
    """

    program: Program

    def __init__(self, directory: pathlib.Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.members = directory / "members" / "web.yaml"
        self.members.parent.mkdir(exist_ok=True)

    @property
    def url(self) -> str:
        """Where the backend is reached."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it."""
        self.program.start()

    def stop(self) -> None:
        """End it."""
        self.program.stop()

    def __enter__(self) -> t.Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


class EnvoyProxy(FileProxy):
    """Envoy with one cluster C(web) by EDS and health checks of /health."""

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        admin = free_port()
        self.admin = f"http://127.0.0.1:{admin}"
        source = {"path": str(self.members), "watched_directory": {"path": str(self.members.parent)}}
        check = {
            "timeout": "1s", "interval": "0.25s", "no_traffic_interval": "0.25s",
            "unhealthy_threshold": 2, "healthy_threshold": 1, "http_health_check": {"path": "/health"},
        }  # fmt: skip
        cluster = {
            "name": "web", "type": "EDS", "connect_timeout": "2s", "lb_policy": "ROUND_ROBIN",
            "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
            "eds_cluster_config": {"eds_config": {"resource_api_version": "V3", "path_config_source": source}},
            "health_checks": [check],
        }  # fmt: skip
        manager = {
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "web",
            "route_config": {
                "virtual_hosts": [
                    {
                        "name": "web",
                        "domains": ["*"],
                        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "web", "timeout": "30s"}}],
                    }
                ]
            },
            "http_filters": [
                {
                    "name": "router",
                    "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                }
            ],
        }
        listener = {
            "name": "web",
            "address": {"socket_address": {"address": "127.0.0.1", "port_value": self.port}},
            "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        }
        configuration = {
            "node": {"id": "lab", "cluster": "lab"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin}}},
            "static_resources": {"listeners": [listener], "clusters": [cluster]},
        }
        path = directory / "envoy.json"
        path.write_text(json.dumps(configuration, indent=1), encoding="utf-8")
        argv = [
            str(BINARIES / "envoy"),
            "-c",
            str(path),
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "-l",
            "warning",
        ]
        self.program = Program(
            argv, log=directory / "envoy.log", ready=lambda: answers(f"{self.url}/health"), deadline=30
        )


class TraefikProxy(FileProxy):
    """Traefik with one router to the service C(web)."""

    def __init__(self, directory: pathlib.Path) -> None:
        super().__init__(directory)
        router = {"http": {"routers": {"web": {"rule": "PathPrefix(`/`)", "service": "web", "entryPoints": ["web"]}}}}
        (self.members.parent / "router.yaml").write_text(json.dumps(router), encoding="utf-8")
        configuration = {
            "entryPoints": {"web": {"address": f"127.0.0.1:{self.port}"}},
            "providers": {
                "file": {"directory": str(self.members.parent), "watch": True},
                "providersThrottleDuration": "0.1s",
            },
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        }
        path = directory / "traefik.yaml"
        path.write_text(json.dumps(configuration, indent=1), encoding="utf-8")
        argv = [str(BINARIES / "traefik"), f"--configFile={path}"]
        self.program = Program(
            argv, log=directory / "traefik.log", ready=lambda: answers(f"{self.url}/health"), deadline=30
        )


NGINX = """daemon off;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx.error.log;
events {{ worker_connections 2048; }}
http {{
  access_log off;
  client_body_temp_path {directory}/nginx-body;
  proxy_temp_path {directory}/nginx-proxy;
  fastcgi_temp_path {directory}/nginx-fastcgi;
  uwsgi_temp_path {directory}/nginx-uwsgi;
  scgi_temp_path {directory}/nginx-scgi;
  keepalive_timeout {keepalive};
  keepalive_requests 1000000;
  proxy_next_upstream off;
  proxy_buffering off;
  include {members};
  server {{
    listen 127.0.0.1:{port} backlog=511;
    location / {{ proxy_pass http://web; }}
  }}
}}
"""


class NginxProxy(FileProxy):
    """nginx with one upstream C(web).

    :param keepalive: Seconds that clients' idle connections are kept; with 0 each ends with its answer.
    """

    def __init__(self, directory: pathlib.Path, *, keepalive: int = 0) -> None:
        super().__init__(directory)
        self.members = directory / "members" / "web.conf"
        self.configuration = directory / "nginx.conf"
        text = NGINX.format(directory=directory, port=self.port, members=self.members, keepalive=keepalive)
        self.configuration.write_text(text, encoding="utf-8")
        argv = [shutil.which("nginx") or "/usr/sbin/nginx", "-c", str(self.configuration), "-p", str(directory)]
        argv += ["-e", str(directory / "nginx.error.log")]
        # How it is told to read its configuration again; it finds the process by the pid file of the configuration.
        self.reload = [*argv, "-s", "reload"]
        self.program = Program(argv, log=directory / "nginx.log", ready=lambda: answers(f"{self.url}/health"))
