# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that say what wakes standbys: a pool's V(standby) and the module ``standby`` take the same."""

from __future__ import annotations

import typing as t

ArgumentSpec = t.Dict[str, t.Dict[str, t.Any]]

PROVIDERS = ["vsphere", "command", "wake_on_lan", "kubernetes"]

# How servers are found among virtual machines.
FIND: ArgumentSpec = dict(
    names=dict(type="dict", default={}),
    folder=dict(type="str"),
    attribute=dict(type="str"),
    attributes=dict(type="dict", default={}),
    tag=dict(type="str"),
)

# Commands of the user's own.
COMMANDS: ArgumentSpec = dict(
    look=dict(type="list", elements="str"),
    wake=dict(type="list", elements="str"),
    suspend=dict(type="list", elements="str"),
    shut_down=dict(type="list", elements="str"),
    timeout=dict(type="str", default="60s"),
)

# Machines that wake by a magic packet.
WAKE_ON_LAN: ArgumentSpec = dict(
    macs=dict(type="dict", required=True),
    addresses=dict(type="dict", default={}),
    port=dict(type="int", default=22),
    broadcast=dict(type="str", default="255.255.255.255"),
    udp_port=dict(type="int", default=9),
)

# Replicas of a workload.
KUBERNETES: ArgumentSpec = dict(
    url=dict(type="str", required=True),
    token_file=dict(type="path", no_log=False),
    client_cert=dict(type="path"),
    client_key=dict(type="path", no_log=False),
    validate_certs=dict(type="bool", default=True),
    ca_path=dict(type="path"),
    namespace=dict(type="str", default="default"),
    workload=dict(type="str", required=True),
    replicas=dict(type="int", required=True),
    servers=dict(type="list", elements="str", default=[]),
    timeout=dict(type="str", default="30s"),
)

# What a server must do, beyond being up, to be ready.
CHECK: ArgumentSpec = dict(
    port=dict(type="int", required=True), path=dict(type="str"), timeout=dict(type="str", default="2s")
)

# All of it, but for the connection: the module takes one, a pool names one.
POWER: ArgumentSpec = dict(
    provider=dict(type="str", choices=PROVIDERS, default="vsphere"),
    find=dict(type="dict", apply_defaults=True, options=FIND),
    commands=dict(type="dict", apply_defaults=True, options=COMMANDS),
    wake_on_lan=dict(type="dict", options=WAKE_ON_LAN),
    kubernetes=dict(type="dict", options=KUBERNETES),
    idle_state=dict(type="str", choices=["suspended", "off"], default="suspended"),
    check=dict(type="dict", options=CHECK),
)
