#!/usr/bin/python
# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: update_run
short_description: Keeps the journal of a rolling update, so that one that was interrupted goes on where it ended
version_added: 0.1.0
author:
  - "The Lowtide authors (@lowtide)"
description:
  - With O(note=begin) it finds the unfinished run of the same update and pools, or begins one, and says which servers are
    done, half-done and untouched. With any other note it writes down what happened, in one short transaction.
  - The role P(lowtide.fleet.update#role) calls it where it must; playbooks of your own need that role only.
  - The run holds its pools by leases that each note renews. A second run at the same time is refused, and told who holds
    them. The hold of a run that was killed ends by itself; the same user takes over at once on the same host, once no task
    of the killed run works on there.
  - A server that failed stays noted until a run brings it back, so the journal also tells what is out of service and why.
  - In check mode it says what it would take up, and writes nothing.
options:
  note:
    description:
      - What happens.
      - V(begin) begins a run or takes it up; V(look) only tells where it stands.
      - V(planned) keeps O(plan). V(waking), V(woken), V(sleeping) and V(asleep) are of O(standbys).
      - V(batch) says that O(hosts) go next. V(out) and V(updating) are noted before it is done, V(updated), V(healthy) and
        V(in) after, and each moves only those of O(hosts) that are a step before it. Servers of the batch that are missing
        from O(hosts) at V(updated), V(healthy) and V(in) were lost, and are noted as failed.
      - V(set_aside) takes O(hosts) out of the batch, since there is no room for them now. They stay as they are.
      - V(failed) and V(rolled_back) are of O(hosts), with O(why).
      - V(stopped) lets the pools go and leaves the run open; V(done) ends it.
    type: str
    choices:
      [begin, look, planned, waking, woken, batch, set_aside, out, updating, updated, healthy, in, failed, rolled_back, stopped,
      sleeping, asleep, done]
    required: true
  run:
    description: The run, as RV(run) of O(note=begin) names it. Needed for all other notes, but not in check mode.
    type: str
  update:
    description:
      - What the update is, for example V(shop 2.4). Needed with O(note=begin).
      - An unfinished run of another update of these pools is superseded; what it took out or woke is taken over.
    type: str
  hosts:
    description: The servers that the note is of; with O(note=look), those that RV(left) and RV(plan) are narrowed to.
    type: list
    elements: str
    default: []
  serving:
    description: Servers that balancers say are in service, with O(note=begin).
    type: list
    elements: str
    default: []
  watched:
    description: Servers that balancers were asked about, with O(note=begin).
    type: list
    elements: str
    default: []
  resting:
    description:
      - Servers that balancers were told to keep out of service, by their state or a weight of 0, with O(note=begin).
      - Those that no run has taken out are updated, and stay out; see RV(kept_out).
    type: list
    elements: str
    default: []
  standbys:
    description: The standbys that the note is of.
    type: list
    elements: str
    default: []
  plan:
    description:
      - The plan, as M(lowtide.fleet.update_plan) returned it, with O(note=planned).
      - In check mode, which keeps no journal, with O(note=batch) too.
    type: dict
  why:
    description: Why a server failed, or the run stopped.
    type: str
  max_failures:
    description: Fail when more servers than these have failed since the run was begun or taken up, after the note is written.
    type: int
  expect:
    description: How long until the next note at most; the run holds its pools for so much longer than O(lease).
    type: str
    default: 0s
  lease:
    description: How long the run holds its pools beyond the next note expected.
    type: str
    default: 2m
  resume_within:
    description:
      - A run that was not written to for so long is begun anew instead of being taken up, since what was installed then may
        not be what is installed now.
    type: str
    default: 24h
  take_over:
    description: Whether to take the pools from whoever holds them. Make sure first that the other run is dead.
    type: bool
    default: false
  wait_for_killed:
    description: How long to wait for tasks of a killed run that still work on this host, and for a pass of autoscale that holds the pools.
    type: str
    default: 10m
extends_documentation_fragment:
  - lowtide.fleet.pools
  - lowtide.fleet.state
  - lowtide.fleet.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details: Notes are added, never changed.
  idempotent:
    support: none
    details: Each call adds a note; O(note=look) adds none.
notes:
  - It is an action plugin; it runs on the controller, connects to no host, and must run with C(run_once=true) for a batch.
seealso:
  - module: lowtide.fleet.update_plan
  - module: lowtide.fleet.update_gate
"""

EXAMPLES = r"""
- name: Begin the update, or take it up
  lowtide.fleet.update_run:
    history: "{{ lowtide_history }}"
    pools: "{{ lowtide_pools }}"
    note: begin
    update: shop 2.4
  register: update_begun

- name: Say where an update stands
  lowtide.fleet.update_run:
    history: "{{ lowtide_history }}"
    pools: "{{ lowtide_pools }}"
    note: look
    run: "{{ update_begun.run }}"
"""

RETURN = r"""
run:
  description: The run; empty in check mode where none is there yet.
  type: str
  returned: success
  sample: shop 2.4 2026-01-31T03:05:00Z
update:
  description: What it installs, as its first command named it.
  type: str
  returned: success
resumed:
  description: Whether an unfinished run was taken up, with O(note=begin).
  type: bool
  returned: success
phase:
  description: V(begun), V(planned), V(waking), V(woken), V(batch), V(stopped), V(sleeping), V(asleep), V(done) or V(superseded).
  type: str
  returned: success
done:
  description: Servers that are updated and back in service.
  type: list
  elements: str
  returned: success
half:
  description: Servers that were taken out and are not back, those that failed included.
  type: list
  elements: str
  returned: success
returning:
  description: Those of RV(half) that are updated, and need their health checked and to be brought back only.
  type: list
  elements: str
  returned: success
left:
  description: Servers that are not updated, and that no run has taken out.
  type: list
  elements: str
  returned: success
broken:
  description: Why, by server, for those that failed and were not brought back as updated since.
  type: dict
  returned: success
failures:
  description: Servers that failed since the run was begun or taken up.
  type: list
  elements: str
  returned: success
batch:
  description: Servers of the newest batch.
  type: list
  elements: str
  returned: success
set_aside:
  description: Servers that there was no room for since the run was begun or taken up.
  type: list
  elements: str
  returned: success
lowered:
  description: Servers noted as taken out that serve all the same; an interruption may have left their weight low.
  type: list
  elements: str
  returned: with O(note=begin)
bring:
  description: Those of RV(batch) that can come back.
  type: list
  elements: str
  returned: success
kept_out:
  description: Servers that others had taken out of service before the run came to them; it leaves them out.
  type: list
  elements: str
  returned: success
standbys:
  description: Standbys that the run woke and that do not sleep again.
  type: list
  elements: str
  returned: success
plan:
  description: What is left of the newest plan; null where there is none, or its time is over, or nothing is left.
  type: dict
  returned: success
why:
  description: What the run stopped for; empty when it did not.
  type: str
  returned: success
words:
  description: What was found or noted, for the person on call.
  type: list
  elements: str
  returned: success
  sample: ["batch 3 of 7 (web4, web2): 8 of 24 servers are updated; 3 servers to spare by plan; expected end
    2026-01-31T03:25:00Z, in 12 minutes"]
"""
