# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The few paths of the Kubernetes API that scale one workload, over HTTP on loopback, with faults on demand.

A stand-in that answers as the real one does; ``make kubernetes`` holds the provider against that one, which takes minutes to
build.
"""

from __future__ import annotations

import http.server
import json
import threading
import time
import typing as t


class KubernetesApi:
    """A workload called web in the namespace shop, whose pods become ready some time after they are asked for.

    :param kind: deployments or statefulsets. :param boot_seconds: From the scale to a ready pod.
    """

    def __init__(self, kind: str, replicas: int, *, token: str = "secret", boot_seconds: float = 0.3) -> None:
        self.kind, self.token, self.boot_seconds = kind, token, boot_seconds
        self.version, self.pods = 1, {}
        self.faults: list[str] = []
        self.looks_refused = 0
        self.writes: list[int] = []
        self.broken: set[int] = set()
        self.homeless: set[int] = set()
        self._lock = threading.Lock()
        self._set(replicas, -boot_seconds)
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *_args: t.Any) -> None:
                pass

            def do_GET(self) -> None:
                api.answer(self, None)

            def do_PUT(self) -> None:
                api.answer(self, json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> KubernetesApi:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _set(self, replicas: int, after: float = 0.0) -> None:
        for number in range(replicas):
            self.pods.setdefault(number, time.monotonic() + after + self.boot_seconds)
        for number in [number for number in self.pods if number >= replicas]:
            del self.pods[number]
        self.replicas = replicas

    def _pods(self) -> list[dict[str, t.Any]]:
        now = time.monotonic()
        return [self._pod(number, since, now) for number, since in self.pods.items()]

    def _pod(self, number: int, since: float, now: float) -> dict[str, t.Any]:
        pod: dict[str, t.Any] = {
            "metadata": {
                "name": f"web-{number}" if self.kind == "statefulsets" else f"web-5d8c7b9f6-{number:05d}",
                "creationTimestamp": f"2026-01-01T00:00:{number:02d}Z",
            },
            "status": {},
        }
        if number in self.homeless:
            message = "0/1 nodes are available: 1 Insufficient cpu."
            pod["status"]["conditions"] = [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
            ]
            return pod
        ready = now >= since and number not in self.broken
        condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": f"2026-01-01T00:01:{number:02d}Z"}
        if not ready:
            condition |= {"reason": "ContainersNotReady", "message": "containers with unready status: [web]"}
        pod["status"] = {
            "podIP": f"10.0.0.{number}",
            "conditions": [condition, {"type": "PodScheduled", "status": "True"}],
            "containerStatuses": [{"name": "web", "ready": ready, "state": {"running": {}}}],
        }
        return pod

    def answer(self, request: http.server.BaseHTTPRequestHandler, body: dict[str, t.Any] | None) -> None:
        """Answer one request as the API would."""
        with self._lock:
            status, said = self._answer(request.path.partition("?")[0], request.headers.get("Authorization"), body)
        if status is None:
            request.connection.close()
            return
        text = json.dumps(said).encode()
        request.send_response(status)
        request.send_header("Content-Length", str(len(text)))
        request.end_headers()
        request.wfile.write(text)

    def _answer(
        self, path: str, credentials: str | None, body: dict[str, t.Any] | None
    ) -> tuple[int | None, dict[str, t.Any]]:
        fault = self.faults.pop(0) if body is not None and self.faults else None
        if body is None and path.endswith("/scale") and self.looks_refused and self.writes:
            # A real one that starts again refuses for a moment what its roles allow.
            self.looks_refused -= 1
            return 403, _status(
                f'{self.kind}.apps "web" is forbidden: User "x" cannot get resource "{self.kind}/scale"'
            )
        if credentials != f"Bearer {self.token}":
            return 401, _status("Unauthorized")
        if path == "/api/v1/namespaces/shop/pods":
            return 200, {"kind": "PodList", "apiVersion": "v1", "items": self._pods()}
        if path != f"/apis/apps/v1/namespaces/shop/{self.kind}/web/scale":
            return 404, _status(f'{self.kind}.apps "none" not found')
        if body is not None:
            if fault == "forbidden":
                return 403, _status(
                    f'{self.kind}.apps "web" is forbidden: User "x" cannot update resource "{self.kind}/scale"'
                )
            if fault == "scaled":
                self._set(self.replicas + 1)
                self.version += 1
            if fault == "conflict" or body["metadata"]["resourceVersion"] != str(self.version):
                return 409, _status(
                    f'Operation cannot be fulfilled on {self.kind}.apps "web": the object has been modified; '
                    "please apply your changes to the latest version and try again"
                )
            self._set(body["spec"]["replicas"])
            self.version += 1
            self.writes.append(self.replicas)
            if fault == "lost":
                return None, {}
        return 200, {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": {"name": "web", "namespace": "shop", "resourceVersion": str(self.version)},
            # The API leaves zeros out.
            "spec": {"replicas": self.replicas} if self.replicas else {},
            "status": {"replicas": self.replicas, "selector": "app=web"},
        }


def _status(message: str) -> dict[str, t.Any]:
    """What the API says when it refuses."""
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message}
