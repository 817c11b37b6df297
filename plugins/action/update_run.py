# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import typing as t

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.lowtide.fleet.plugins.module_utils import face
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import LowtideError
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import update_run

# Ends of the names of strategies in which each host goes on by itself; run_once means nothing there.
UNORDERED = ("free", "host_pinned")


class ActionModule(ActionBase):
    """Runs on the controller, as a child of the process that runs the playbook and holds its pools."""

    _requires_connection = False
    _supports_check_mode = True

    def run(self, tmp: None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Begin a run, take it up, or note what happened."""
        result = super().run(tmp, task_vars)
        _validation, params = self.validate_argument_spec(argument_spec=update_run.SPEC)
        strategy = str(self._task.get_play().strategy)
        if params["note"] == "batch" and strategy.endswith(UNORDERED):
            raise AnsibleActionFail(
                f"strategy: {strategy} lets no task wait for all hosts of a batch, so that some would be brought back while they are "
                "still updated. Set 'strategy: linear' in the play."
            )
        try:
            answer = update_run.update_run(
                params, check_mode=self._task.check_mode, process=os.getppid(), say=Display().display
            )
        except LowtideError as exc:
            raise AnsibleActionFail(str(exc)) from exc
        result.update(face.plain(answer))
        return result
