# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module C(traffic_shift) one step at a time, where the task runs, and prints each step as it ends."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

MODULE = "lowtide.fleet.traffic_shift"


class ActionModule(ActionBase):
    """See the documentation of the module."""

    supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if self._task.check_mode or "progress" in arguments:
            return self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        arguments["progress"], told = {}, 0
        while True:
            result = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
            for sentence in result.get("words", [])[told:]:
                Display().display(f"{arguments.get('backend')} {sentence}")
            told = len(result.get("words", []))
            if result.get("failed") or result.get("finished"):
                return result
            arguments["progress"] = result["progress"]
