# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Any other balancer, through task files of the user's own.

A run of ``ansible-playbook`` on this host includes the user's task file with one variable, C(lowtide_plan): C(backend),
C(action) (V(read) or V(apply)) and C(members), each with C(name), C(state), C(weight), C(address) and C(port) as they shall
be. After V(read), the file has set the fact C(lowtide_members): by name, each with C(state), C(weight), and what it knows of
C(full_weight), C(up), C(sessions), C(queue), C(requests), C(errors), C(requests_per_second), C(address) and C(port).
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import typing as t

from ..errors import ConnectionFailed, InvalidOption
from . import balancer
from .balancer import Change, Status, check_name

KNOWN = (
    "full_weight", "up", "address", "port", "checked", "sessions", "queue", "requests", "errors", "requests_per_second",
)  # fmt: skip
TIMEOUT_SECONDS = 600.0


class Tasks:
    """A balancer behind the user's task file; an :class:`actuators.balancer.Instance`."""

    most = 65535
    adds = True
    waiting = 0
    option = "tasks"

    def __init__(self, path: str, backend: str) -> None:
        self.path = pathlib.Path(path)
        self.label = path
        self.backend = check_name(backend, "backend")
        self.last: dict[str, Status] = {}
        if not self.path.is_file():
            raise InvalidOption(f"there is no file {path}", option="tasks", remedy="Give the path of a task file")

    def read(self) -> dict[str, Status]:
        """What the task file says the members are."""
        with tempfile.TemporaryDirectory() as directory:
            answer = pathlib.Path(directory) / "members.json"
            content = "{{ lowtide_members | ansible.builtin.to_json }}"
            self._run("read", [], [{"ansible.builtin.copy": {"dest": str(answer), "content": content, "mode": "0600"}}])
            told = json.loads(answer.read_text(encoding="utf-8"))
        if not isinstance(told, dict) or not all(isinstance(one, dict) for one in told.values()):
            raise InvalidOption(
                f"{self.path} sets lowtide_members to what is no dictionary of members",
                option="tasks",
                remedy="Set it to a dictionary by name, each member a dictionary with state and weight",
            )
        self.last = {name: self._status(name, one) for name, one in told.items()}
        return self.last

    def _status(self, name: str, one: dict[str, t.Any]) -> Status:
        state, weight = one.get("state"), one.get("weight")
        if state not in balancer.STATES or not isinstance(weight, int) or isinstance(weight, bool):
            raise InvalidOption(
                f"{self.path} gives {name!r} the state {state!r} and the weight {weight!r}",
                option="tasks",
                remedy=f"Set lowtide_members with a state of {', '.join(balancer.STATES)} and a whole weight for each",
            )
        values = {key: one[key] for key in KNOWN if key in one}
        text = next((key for key, value in values.items() if key != "address" and isinstance(value, str)), None)
        if text is not None:
            raise InvalidOption(
                f"{self.path} gives {name!r} the {text} {values[text]!r}, which is text",
                option="tasks",
                remedy="Make it a number or true or false, with the filters int or bool",
            )
        return Status(state, weight, **{"full_weight": 100, "up": state == "ready", **values})

    def check_rights(self) -> None:
        """Whether it may, only the user's tasks know."""

    def apply(self, changes: t.Sequence[Change]) -> None:
        """Hand all members that change, since they were read last, to the task file, as they shall be."""
        if not changes:
            return
        then = balancer.after(self.last, changes)
        names = list(dict.fromkeys(change.name for change in changes))
        keys = ("state", "weight", "address", "port")
        members = [
            {"name": name, **{key: getattr(then[name], key) for key in keys}}
            if name in then
            else {"name": name, "state": "absent"}
            for name in names
        ]
        self._run("apply", members, [])

    def _run(self, action: str, members: list[dict[str, t.Any]], more: list[dict[str, t.Any]]) -> None:
        plan = {"backend": self.backend, "action": action, "members": members}
        tasks = [{"ansible.builtin.include_tasks": str(self.path.resolve())}, *more]
        play = {"hosts": "localhost", "gather_facts": False, "vars": {"lowtide_plan": plan}, "tasks": tasks}
        play["vars"]["ansible_python_interpreter"] = sys.executable
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "false"}
        program = pathlib.Path(sys.executable).with_name("ansible-playbook")
        with tempfile.TemporaryDirectory() as directory:
            book = pathlib.Path(directory) / "apply.yml"
            book.write_text(json.dumps([play]), encoding="utf-8")
            try:
                done = subprocess.run(
                    [str(program) if program.exists() else "ansible-playbook", "--inventory", "localhost,", "--connection",
                     "local", str(book)],
                    env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False,
                )  # fmt: skip
            except (OSError, subprocess.TimeoutExpired) as exc:
                raise ConnectionFailed(
                    f"ansible-playbook could not run: {exc}", option="tasks", remedy="Run the task on the controller"
                ) from exc
        if done.returncode:
            lines = [line for line in (done.stdout + done.stderr).splitlines() if "fatal:" in line or "ERROR" in line]
            raise ConnectionFailed(
                f"{self.path} failed: {' '.join(lines)[-500:]}",
                option="tasks",
                remedy="Run the file by itself to see why",
            )

    def save(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to end."""
