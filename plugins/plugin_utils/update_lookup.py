# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the lookups for C(hosts) and C(serial) share: where they stand in a run, and the plan they answer from."""

from __future__ import annotations

import json
import typing as t

from ansible import context
from ansible.inventory.manager import InventoryManager
from ansible.plugins.lookup import LookupBase
from ansible.utils.display import Display
from ansible.vars.manager import VariableManager
from ansible_collections.lowtide.fleet.plugins.module_utils import face, options, timing
from ansible_collections.lowtide.fleet.plugins.module_utils.errors import InvalidOption
from ansible_collections.lowtide.fleet.plugins.module_utils.operations import tenants, update_plan

VARIABLES = {"history": "lowtide_history", "pools": "lowtide_pools"}
# What need not be set.
OPTIONAL = {
    "tenant": "lowtide_tenant",
    "tenants": "lowtide_tenants",
    "state": "lowtide_state",
    "placement": "lowtide_placement",
}

display = Display()

# Both lookups of a play answer from one plan: made once for each question in a run of ansible-playbook.
_PLANS: dict[str, dict[str, t.Any]] = {}

# The orders that update_hosts gave out in this run and whose batch sizes nobody has asked for yet. A play whose hosts it gave
# shows all hosts of the inventory until its first batch starts, so that they can't be checked then. Ansible asks for hosts
# and then serial of one play after another: once a play has its sizes, the next must have its hosts from there again.
_GIVEN: list[list[str]] = []


def only_listing() -> str | None:
    """Which option of C(ansible-playbook) (or ansible-lint) asks what a playbook is, instead of running it."""
    for name in ("syntax", "listhosts", "listtasks", "listtags"):
        if context.CLIARGS.get(name):
            return name
    return None


def plan_for(lookup: LookupBase, terms: t.Sequence[str], variables: dict[str, t.Any]) -> dict[str, t.Any]:
    """The update plan that a lookup answers from: the one given, else one made now for the pools named.

    :raises LowtideError: when it can't be read or made.
    """
    given = _options(lookup)
    plan = given.pop("plan")
    if plan is not None:
        return update_plan.load(plan)
    given = _completed(lookup, given, variables)
    question = json.dumps([given, list(terms)], default=str, sort_keys=True)
    if question not in _PLANS:
        params = options.checked({**given, "pool": list(terms)}, update_plan.SPEC, "update_plan")
        answer = face.plain(update_plan.update_plan(params, check_mode=True))
        for warning in answer["warnings"]:
            display.warning(warning)
        for sentence in answer["words"]:
            display.display(sentence)
        if early := too_early(answer["plan"]):
            display.warning(early)
        _PLANS[question] = answer["plan"]
    return _PLANS[question]


def _options(lookup: LookupBase) -> dict[str, t.Any]:
    """The options. What is set by a variable comes as it is written there, with the templates in it."""
    return {name: lookup._templar.template(value) for name, value in lookup.get_options().items() if name[0] != "_"}


def too_early(plan: dict[str, t.Any]) -> str:
    """What to say of a plan made on the spot whose low tide is still to come: a play does not wait for it by itself."""
    wait = (timing.moment(plan["window"]["start"]) - timing.moment(plan["now"])).total_seconds()
    if wait < timing.duration("5m"):
        return ""
    return (
        f"the low tide of this plan begins at {plan['window']['start']}, in {timing.words(wait)}, and this play does not wait "
        "for it: its batches are those of another hour. Start it then, set lowtide_deadline to have a plan that begins sooner, "
        "or plan first and let lowtide.fleet.update_gate wait before each batch."
    )


def servers(lookup: LookupBase, terms: t.Sequence[str], variables: dict[str, t.Any]) -> list[str]:
    """The servers of the pools named, without planning, for listings."""
    given = _options(lookup)
    if given["plan"] is not None:
        return update_plan.load(given["plan"])["hosts"]
    if only_listing() == "syntax" and any(given.get(name) is None for name in VARIABLES):
        # ansible-lint checks the syntax without an inventory to name the servers, and nobody sees them.
        return ["localhost"]
    given = _completed(lookup, given, variables)
    pools = tenants.chosen({**given, "pool": list(terms)})
    return [server for pool in pools.values() for server in pool["servers"]]


def hosts(plan: dict[str, t.Any], variables: dict[str, t.Any]) -> list[str]:
    """The servers of a plan, in order, for C(hosts).

    :raises InvalidOption: when C(--limit) leaves none of them, which Ansible would take for nothing to do.
    """
    limit = variables.get("ansible_limit")
    if limit and not set(plan["hosts"]) & set(variables.get("ansible_play_hosts_all", plan["hosts"])):
        raise InvalidOption(
            f"the limit {limit!r} leaves no server of the plan",
            option="--limit",
            remedy=f"Name some of {', '.join(plan['hosts'][:5])}, or leave the limit out",
        )
    _GIVEN.append(plan["hosts"])
    return plan["hosts"]


def sizes(plan: dict[str, t.Any], variables: dict[str, t.Any]) -> list[int]:
    """The batch sizes of a plan, for C(serial), each batch shrunk to the servers that the play has.

    :raises InvalidOption: when the hosts of the play are not those of the plan in its order.
    """
    playing = list(variables.get("ansible_play_hosts_all", plan["hosts"]))
    expected = [host for host in plan["hosts"] if host in set(playing)]
    given = plan["hosts"] in _GIVEN
    _GIVEN.clear()
    if not given and playing != expected:
        strangers = [host for host in playing if host not in plan["hosts"]]
        problem = f"the plan does not know {', '.join(strangers)}" if strangers else "the play has its own order"
        raise InvalidOption(
            f"hosts of the play and the plan differ: {problem}",
            option="hosts",
            remedy="Take hosts: from the lookup lowtide.fleet.update_hosts, with order: inventory",
        )
    counts = [sum(host in expected for host in batch["hosts"]) for batch in plan["batches"]]
    if not any(counts):
        raise InvalidOption(
            "the play has no server of the plan",
            option="hosts",
            remedy="Look at --limit, and take hosts: from the lookup lowtide.fleet.update_hosts",
        )
    return [count for count in counts if count]


def batch_numbers(plan: dict[str, t.Any], names: t.Sequence[str]) -> list[int]:
    """The number of the batch that each host is in, from 1.

    :raises InvalidOption: on a host that the plan does not know.
    """
    known = {host: batch["number"] for batch in plan["batches"] for host in batch["hosts"]}
    strangers = [name for name in names if name not in known]
    if strangers:
        raise InvalidOption(
            f"the plan does not know {', '.join(strangers)}",
            option="_terms",
            remedy="Ask for servers of the pools that it updates, or plan anew",
        )
    return [known[name] for name in names]


def _completed(lookup: LookupBase, given: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
    """The options with those unset taken from the variables the inventory gives its hosts.

    A play's C(hosts) and C(serial) see the play's own variables and extra variables, but none of the inventory's.
    """
    unset = [name for name in (*VARIABLES, *OPTIONAL) if given.get(name) is None]
    inventory = _inventory_variables(lookup, variables) if set(unset) & set(VARIABLES) else {}
    for name in unset:
        if name in OPTIONAL and OPTIONAL[name] not in inventory:
            continue
        if name in VARIABLES and VARIABLES[name] not in inventory:
            raise InvalidOption(
                f"it is not given, and no variable {VARIABLES[name]} is set",
                option=name,
                remedy=f"Set {VARIABLES[name]} in the inventory's group_vars/all, as a variable of the play, or with -e",
            )
        templar = lookup._templar.copy_with_new_env(available_variables=inventory)
        given[name] = templar.template(inventory[{**VARIABLES, **OPTIONAL}[name]])
    return {name: value for name, value in given.items() if name not in OPTIONAL or value is not None}


def _inventory_variables(lookup: LookupBase, variables: dict[str, t.Any]) -> dict[str, t.Any]:
    """What a host of the inventory sees, with the play's own variables above it."""
    inventory = InventoryManager(loader=lookup._loader, sources=list(context.CLIARGS.get("inventory") or ()))
    manager = VariableManager(loader=lookup._loader, inventory=inventory)
    hosts = inventory.get_hosts("all", ignore_limits=True)
    wanted = [host for host in hosts if all(name in manager.get_vars(host=host) for name in VARIABLES.values())]
    seen = manager.get_vars(host=wanted[0]) if wanted else manager.get_vars()
    return {**seen, **variables}
