# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What the module update_plan and the lookups that plan on the spot share; kept in step with SPEC in
    module_utils/operations/update_plan.py."""

    DOCUMENTATION = r"""
options:
  deadline:
    description: When the last batch must have ended; a time, or a duration from O(now). O(horizon) when unset.
    type: str
  awake:
    description: Standbys that are awake and carry load already.
    type: list
    elements: str
    default: []
  resting:
    description: Servers of the pools that are out of service already and stay so. They are updated too, and make no room by it.
    type: list
    elements: str
    default: []
  durations:
    description:
      - How long earlier updates of one server took, by pool, each a list of seconds.
      - With five or more, what nine of ten took at most goes before C(update.duration) of the pool.
      - Those of earlier runs are read from O(state), or else O(history), for pools that are not named here.
    type: dict
    default: {}
  min_gain:
    description:
      - Share of the load displaced that waiting must save at least, for example V(0.1) for a tenth. Where beginning as soon as it
        can, when standbys are ready at the latest, displaces no more than that above the least, it begins then.
      - It must end no later than the plan that waits, and take at most twice as long from the first batch to the last.
      - Plans that displace less than 3 % more than another count as equal to it whatever is given here.
    type: float
    default: 0.03
  anomalies:
    description:
      - V(hold) makes no plan while the demand of a pool is flagged as anomalous, as M(lowtide.fleet.anomalies) does with the
        detector V(novelty) over the last 14 days; its forecast can't be trusted then.
      - V(ignore) plans all the same.
    type: str
    choices: [hold, ignore]
    default: hold
  placement:
    description:
      - Where to read which ESXi host each server runs on, which becomes its failure domain; C(update.failure_domains) of a pool
        goes before it.
    type: dict
    suboptions:
      find:
        description: How servers are found among virtual machines, as in M(lowtide.fleet.standby).
        type: dict
        suboptions:
          names:
            description: Names of virtual machines by server name, where they differ.
            type: dict
            default: {}
          folder:
            description: Look only in this folder, and below it.
            type: str
          attribute:
            description: The custom attribute that holds the server's name.
            type: str
          attributes:
            description: Look only among virtual machines whose custom attributes have these values.
            type: dict
            default: {}
          tag:
            description: Look only among virtual machines with this tag, C(name) or C(category:name).
            type: str
      connection:
        description: How to reach vCenter, as in M(lowtide.fleet.standby). The account needs C(System.View) only.
        type: dict
        suboptions:
          hostname:
            description: Name or address. The environment variable E(VMWARE_HOST) where it is not given.
            type: str
          username:
            description: Account to log in with. The environment variable E(VMWARE_USER) where it is not given.
            type: str
          password:
            description: Its password. The environment variable E(VMWARE_PASSWORD) where it is not given.
            type: str
          port:
            description: Port of the vSphere API. The environment variable E(VMWARE_PORT) where it is not given.
            type: int
            default: 443
          validate_certs:
            description:
              - Whether the server's certificate must be trusted. The environment variable E(VMWARE_VALIDATE_CERTS) where it is
                not given.
            type: bool
            default: true
          ca_path:
            description: PEM file of the authority that signed the server's certificate, where the system does not know it.
            type: path
"""
