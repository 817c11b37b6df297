# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files and answers that are not what they should be; all else is tested on real balancers."""

from __future__ import annotations

import http.server
import json
import threading

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils.actuators import files, tasks
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import ConnectionFailed, InvalidOption


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        "{}",
        '{"backend": "web", "members": [1]}',
        '{"backend": "web", "members": {"w1": {"state": "ready"}}}',
    ],
)
def test_a_file_that_was_changed_by_hand(tmp_path, line):
    path = tmp_path / "web.json"
    path.write_text(f"{files.MARK}{line}\n{{}}\n", encoding="utf-8")
    with pytest.raises(InvalidOption, match=r"^file: the first line of .* can't be read any more .* Put back"):
        files.Traefik(str(path), "web", settle=0).read()


@pytest.mark.parametrize("body", ["<html>", "[]"])
def test_an_address_that_is_not_envoys(tmp_path, body):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_args):
            """Nothing to log."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        with pytest.raises(ConnectionFailed, match=r"^admin: .* Give the address of Envoy's administration interface"):
            files.Envoy(str(tmp_path / "web.json"), "web", settle=0, admin=address).read()
        server.shutdown()


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ([{"name": "w1"}], "is no dictionary of members"),
        ({"w1": "ready"}, "is no dictionary of members"),
        ({"w1": {"state": "ready", "weight": "100"}}, "the weight '100'"),
        ({"w1": {"state": "ready", "weight": 100, "sessions": "3"}}, "the sessions '3', which is text"),
        ({"w1": {"state": "ready", "weight": 100, "up": "yes"}}, "the up 'yes', which is text"),
    ],
)
def test_tasks_that_tell_something_else(tmp_path, monkeypatch, told, message):
    path = tmp_path / "tasks.yml"
    path.write_text("[]", encoding="utf-8")

    def run(self, action, members, more):
        with open(more[0]["ansible.builtin.copy"]["dest"], "w", encoding="utf-8") as file:
            json.dump(told, file)

    monkeypatch.setattr(tasks.Tasks, "_run", run)
    with pytest.raises(InvalidOption, match=f"^tasks: .*{message}"):
        tasks.Tasks(str(path), "web").read()
