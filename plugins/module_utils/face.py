# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every module's ``main`` does: build the module, run one operation, answer or fail in one line."""

from __future__ import annotations

import math
import typing as t

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from .errors import LowtideError, MissingLibrary

Operation = t.Callable[..., t.Dict[str, t.Any]]


def run(operation: Operation, argument_spec: dict[str, t.Any], **module_options: t.Any) -> None:
    """Run one operation as an Ansible module.

    :param operation: Called as ``operation(params, check_mode=bool)``; its plain dict is the module's result.
    :param argument_spec: The module's options.
    :param module_options: Further keywords of :class:`AnsibleModule`, such as ``required_if``.
    """
    module = AnsibleModule(argument_spec=argument_spec, supports_check_mode=True, **module_options)
    try:
        result = plain(operation(module.params, check_mode=module.check_mode))
    except MissingLibrary as exc:
        module.fail_json(msg=missing_required_lib(exc.library, reason=exc.reason))
    except LowtideError as exc:
        module.fail_json(msg=str(exc))
    for warning in result.pop("warnings", []):
        module.warn(warning)
    module.exit_json(**result)


def plain(value: t.Any) -> t.Any:
    """The value, if it is made of what JSON and Ansible know, finite numbers only.

    :raises TypeError: on any other type. :raises ValueError: on NaN or infinity. Both are faults of the code, not of
        the user: an operation converts before it returns.
    """
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} in a result")
        # numpy's float64 is a float too, and JSON's writers take it; Ansible's do not.
        return float(value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    raise TypeError(f"{type(value).__name__} in a result")
