# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How to reach vSphere; kept in step with VSPHERE in module_utils/options.py."""

    DOCUMENTATION = r"""
options:
  connection:
    description:
      - How to reach vCenter, or an ESXi host. Needed with O(provider=vsphere).
      - One login serves the whole task. The account needs the privileges C(System.View), C(VirtualMachine.Interact.PowerOn),
        C(VirtualMachine.Interact.PowerOff) and C(VirtualMachine.Interact.Suspend) on the standbys, and no others.
    type: dict
    suboptions:
      hostname:
        description:
          - Name or address.
          - The environment variable E(VMWARE_HOST) where it is not given.
        type: str
      username:
        description:
          - Account to log in with.
          - The environment variable E(VMWARE_USER) where it is not given.
        type: str
      password:
        description:
          - Its password.
          - The environment variable E(VMWARE_PASSWORD) where it is not given.
        type: str
      port:
        description:
          - Port of the vSphere API.
          - The environment variable E(VMWARE_PORT) where it is not given.
        type: int
        default: 443
      validate_certs:
        description:
          - Whether the server's certificate must be trusted.
          - The environment variable E(VMWARE_VALIDATE_CERTS) where it is not given.
        type: bool
        default: true
      ca_path:
        description: PEM file of the authority that signed the server's certificate, where the system does not know it.
        type: path
"""
