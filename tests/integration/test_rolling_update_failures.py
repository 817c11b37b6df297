# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a rolling update makes of what goes wrong: one small fleet under load, updated from version to version."""

from __future__ import annotations

import concurrent.futures
import time
import urllib.request

import pytest
from ansible_collections.lowtide.fleet.plugins.module_utils import options
from ansible_collections.lowtide.fleet.plugins.module_utils.operations.balancer_pool import balancer_pool
from fleet import Tier
from rollout_lab import Shop, shop_past

# All four are needed at low tide, so that two standbys take the place of each two that are updated.
SMALL = Tier("small", 4, 2, capacity=9, peak=42, update={"duration": "20s", "max_unavailable": "2"})

UPDATE = """
- name: Install, if it can be
  ansible.builtin.shell:
    cmd: |
      echo {{ lowtide_update_id }} >> {{ inventory_dir }}/{{ inventory_hostname }}.updates
      test {{ inventory_hostname }} != {{ fails | default('none') }} || { echo no space left >&2; exit 1; }
      echo '{"version": "{{ lowtide_update_id }}", "errors": {{ errors | default(0) }}}' > {{ version_file }}
      kill -TERM "$(cat {{ pid_file }})"
  changed_when: true
"""
ROLLBACK = """
- name: Put back what ran before
  ansible.builtin.shell:
    cmd: |
      echo '{"version": "1.0", "errors": {{ errors | default(0) }}}' > {{ version_file }}
      kill -TERM "$(cat {{ pid_file }})"
  changed_when: true
"""

# Stands in for a machine reached by ssh: commands run here, its boot id is a file, and it is away while it restarts.
SSH = """#!/bin/sh
for word; do host=$last; last=$word; done
[ "$host" = check ] && exit 1
machine={directory}/$host
[ -e "$machine.away" ] && {{ echo "ssh: connect to host $host: Connection refused" >&2; exit 255; }}
case $last in
  *boot_id*) cat "$machine.boot" ;;
  *) MACHINE=$machine exec sh -c "$last" ;;
esac
"""
RESTART = """#!/bin/sh
echo again >> "$MACHINE.boot"
touch "$MACHINE.away"
(sleep 1; rm "$MACHINE.away") > /dev/null 2>&1 < /dev/null &
"""


class Fleet(Shop):
    """The fleet, and what is asked of it here."""

    def __init__(self, directory, past):
        super().__init__(directory, past, update_seconds=0, tier=SMALL)
        self.release.write_text(UPDATE, encoding="utf-8")
        self.rollback = self.directory / "rollback.yml"
        self.rollback.write_text(ROLLBACK, encoding="utf-8")

    def update(self, version, *, connection=None, **variables):
        """Run the playbook to its end; return its exit code and what it printed, as one line."""
        quick = {"balancer_bake": "1s", "balancer_steps": ["100%"], "balancer_leave_steps": ["50%", "100%"]}
        quick |= {"balancer_min_requests": 5, "balancer_patience": "20s", "lowtide_update_id": version}
        playbook = self.start_playbook(connection=connection, **quick, **variables)
        code = playbook.wait()
        return code, " ".join(playbook.output.split()).replace("''", "'")

    def members(self, **changes):
        """State and weight by member, after changes of states."""
        given = {"socket": [self.haproxy.tcp_socket], "backend": SMALL.name}
        given["members"] = [{"name": name, "state": state} for name, state in changes.items()]
        read = balancer_pool(options.checked(given, options.BALANCER_POOL, "balancer_pool"), check_mode=False)
        return {name: (one["state"], one["weight"]) for name, one in read["members"].items()}

    def in_service(self):
        return [name for name, state in self.members().items() if state == ("ready", 100)]

    def versions(self):
        return {name: self.version(name) for name in SMALL.server_names}

    def fail(self, names, errors):
        """Have servers fail a share of their requests, until they restart."""
        for name in names:
            url = f"http://{self.addresses[name]}:{self.port}/control?errors={errors}"
            urllib.request.urlopen(url, timeout=5).close()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory):
    with Fleet(tmp_path_factory.mktemp("small") / "fleet", shop_past(SMALL)) as fleet:
        fleet.start_load(3600, long=0)
        yield fleet


def test_from_version_to_version(fleet):
    """Each run finds what the one before has left."""
    servers, standbys = SMALL.server_names, SMALL.standby_names

    # One server fails, is rolled back, and is tolerated.
    code, told = fleet.update("2.0", fails="small2", lowtide_max_failures=1, lowtide_rollback_tasks=str(fleet.rollback))
    assert code != 0 and "3 servers are updated and in service; small2 is not" in told, told
    assert "small2 (Install, if it can be: non-zero return code, rolled back)" in told, told
    assert fleet.versions() == {**dict.fromkeys(servers, "2.0"), "small2": "1.0"}
    assert set(servers) <= set(fleet.in_service())

    # Another update takes its place, and its standbys. It does badly as its first batch comes back, rolled back or not.
    code, told = fleet.update("3.0", errors=0.7, lowtide_rollback_tasks=str(fleet.rollback))
    assert code != 0 and "the update '2.0' begun" in told and "this one takes its place" in told, told
    assert any(
        f"the standbys {', '.join(some)} were woken for it and stay in use" in told
        for some in (standbys, standbys[::-1])
    )
    assert "it was rolled back and did badly even so: small 100%: error_rate is over" in told, told
    assert "out of service" in told
    run = fleet.runs()[-1]
    bad = run.half
    assert 0 < len(bad) < 4 and run.done == [] and sorted(run.woken) == standbys
    assert set(fleet.in_service()) == {*servers, *standbys} - set(bad)

    # A third goes to those first; its machines restart.
    for name in servers:
        (fleet.directory / f"{name}.boot").write_text("once\n", encoding="utf-8")
    ssh, restart = fleet.directory / "ssh", fleet.directory / "restart"
    for path, text in ((ssh, SSH.format(directory=fleet.directory)), (restart, RESTART)):
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)
    reach = {"ansible_connection": "ssh", "ansible_ssh_executable": str(ssh), "ansible_ssh_pipelining": True}
    code, told = fleet.update("4.0", connection=reach, lowtide_reboot=True, lowtide_reboot_command=str(restart))
    assert code == 0 and f"{', '.join(bad)} {'was' if len(bad) == 1 else 'were'} taken out and not updated" in told, (
        told
    )
    assert fleet.versions() == dict.fromkeys(servers, "4.0")
    assert [(fleet.directory / f"{name}.boot").read_text() for name in servers] == ["once\nagain\n"] * 4
    assert fleet.in_service() == servers and fleet.runs()[-1].woken == []
    assert fleet.runs()[-1].done == servers


def test_those_that_stay_can_not_carry_it(fleet):
    """The batch has its weights back and is not updated, and the run stops."""
    before = fleet.versions()
    with concurrent.futures.ThreadPoolExecutor() as pool:

        def fail():
            end = time.monotonic() + 120
            while True:
                members = fleet.members()
                leaving = [name for name in SMALL.server_names if members[name][1] == 50]
                if leaving:
                    return fleet.fail([name for name in fleet.in_service() if name not in leaving], 0.7)
                assert time.monotonic() < end
                time.sleep(0.05)

        failing = pool.submit(fail)
        code, told = fleet.update("5.0")
        failing.result()
    fleet.fail([*SMALL.server_names, *SMALL.standby_names], 0)
    assert code != 0 and "It stopped because Those that stay can't carry it, so small" in told, told
    assert "error_rate is over" in told and "kept their traffic" in told
    assert fleet.versions() == before
    assert set(SMALL.server_names) <= set(fleet.in_service())


def test_a_batch_shrinks_to_the_room_there_is(fleet):
    """Where one server more is out than was planned, one of the two of a batch goes."""
    last = fleet.runs()[-1].plan["hosts"][-1]
    fleet.members(**{last: "maintenance"})
    code, told = fleet.update("5.0", lowtide_shrink=True, lowtide_gate_timeout="1s")
    aside = fleet.runs()[-1].set_aside
    assert code != 0 and aside and f"there was no room for {', '.join(sorted(aside))}" in told, told
    assert "Run the same again: it goes on from here" in told
    assert {name for name, version in fleet.versions().items() if version != "5.0"} == set(aside)
    assert set(aside) <= set(fleet.in_service())
