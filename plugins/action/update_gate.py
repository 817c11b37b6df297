# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.lowtide.fleet.plugins.module_utils import face
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import LowtideError
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import update_gate
from ansible_collections.lowtide.fleet.plugins.module_utils.planning.gate import Run


class ActionModule(ActionBase):
    """Runs on the controller, where the play's hosts are known, and needs no connection to any of them."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Decide on the batch of this moment."""
        result = super().run(tmp, task_vars)
        facts = task_vars or {}
        _validation, params = self.validate_argument_spec(argument_spec=update_gate.SPEC)
        run = Run(
            hosts=[host for host in facts["ansible_play_hosts_all"] if host not in params["set_aside"]],
            remaining=list(facts["ansible_play_hosts"]),
            batch=list(facts["ansible_play_batch"]),
        )
        try:
            answer = update_gate.update_gate(params, check_mode=self._task.check_mode, run=run)
        except LowtideError as exc:
            raise AnsibleActionFail(str(exc)) from exc
        result.update(face.plain(answer))
        return result
