# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The options that every face takes which looks at pools; kept in step with module_utils/options.py."""

    DOCUMENTATION = r"""
options:
  history:
    description:
      - Where the series of the pools are kept.
      - Usually set once for all, as the variable C(lowtide_history).
    type: dict
    required: true
    suboptions:
      type:
        description:
          - V(duckdb) is one file on the controller, at O(history.path), and one more for each further tenant.
          - V(postgresql) is a schema C(lowtide) in a database, at O(history.url), and one more for each further tenant; for
            controllers that forget their disk.
          - V(prometheus) reads straight from a server that speaks the Prometheus API, at O(history.url).
        type: str
        choices: [duckdb, postgresql, prometheus]
        default: duckdb
      path:
        description:
          - The DuckDB file, by its whole path. Needed with O(history.type=duckdb).
          - With O(history.type=prometheus), where to keep what the server can't, that is maintenance marks, leases and records.
        type: path
      retention:
        description: How long samples are kept. At least 30 days, which forecasts learn from.
        type: str
        default: 90d
      url:
        description:
          - Base address of the Prometheus API, without C(/api/v1), with O(history.type=prometheus).
          - C(postgresql://host:5432/database) with O(history.type=postgresql).
        type: str
      queries:
        description:
          - PromQL by metric name, as text or as a dictionary with C(query), C(aggregation) and C(unit).
          - A query returns one series per server, told apart by O(history.server_label), or the total of a pool, told apart by
            O(history.pool_label). A series without either label is the total of the one pool that is looked at.
          - Needed with O(history.type=prometheus).
        type: dict
      server_label:
        description: The label that holds the server's name; a port at its end is ignored.
        type: str
        default: instance
      pool_label:
        description: The label that holds the pool's name, for series that are the total of a pool.
        type: str
        default: pool
      username:
        description: User of HTTP basic authentication, or of the database.
        type: str
      password:
        description: Password of that user.
        type: str
      token:
        description: Bearer token, instead of user and password.
        type: str
      validate_certs:
        description: Whether the server's certificate must be trusted.
        type: bool
        default: true
      ca_path:
        description: PEM file of the authority that signed the server's certificate, where the system does not know it.
        type: path
      client_cert:
        description: PEM file of a certificate to show to the server.
        type: path
      client_key:
        description: PEM file of the key of O(history.client_cert), where it is not in the same file.
        type: path
      timeout:
        description: How long one request may take.
        type: str
        default: 30s
  pools:
    description:
      - The pools, by name. Usually set once for all, as the variable C(lowtide_pools).
      - Each has C(servers) (list of names, required) and C(load) (dict, required) with C(metric), C(server_capacity) (load
        units that one server carries while it keeps its SLO) and C(target_utilization) (share of it to plan with,
        default 0.7).
      - Further keys are C(tenant), C(weight), C(slo) (C(overload_cost_per_hour), of one server's worth of demand that is not
        served, or with C(overload=time) of any overload; C(quantile), the level of demand to cover, instead of what costs
        say), C(limits) (C(min), C(max)), C(standby) (C(servers), C(cost_per_hour), C(idle_cost_per_hour), C(lead_time),
        C(min_awake) before one may sleep again, C(boot_failure), the chance that one does not boot, and what wakes them, as
        in M(lowtide.fleet.standby), by C(provider), C(find), C(commands), C(wake_on_lan), C(kubernetes), C(idle_state), C(check),
        and C(connection), the name of one of its O(lowtide.fleet.standby#module:connections)), C(rules) (thresholds of predicted
        utilization instead of costs, a list of C(above) or C(below), C(for), C(add) or C(remove)), C(anomalies) (C(surge),
        V(add) or V(ignore); C(low), V(freeze) or V(ignore)), C(balancer) (C(provider), C(socket), C(backend)), C(calendar)
        (C(time_zone); C(holidays), a country like V(DE) or V(DE-BY), which needs the Python library holidays; C(events), a
        list of C(name), C(start), C(end), and C(effect), what the load is multiplied by, learned from earlier events of the
        name when it is not given, or C(maintenance=true) to leave their samples out, or C(blackout=true) to let no server be
        out for an update; C(files) of type ICS, in which the category BLACKOUT means the same; C(blackouts), which of
        V(events), V(files) and V(holidays) are all blackouts) and C(update) (C(duration), C(risk), C(max_unavailable), C(first),
        C(last), C(failure_domains), C(blackouts), C(windows)).
      - C(update.blackouts) are times in which no server may be out, and C(update.windows), where there are any, the only ones in
        which servers may be. Each has C(start) and C(end), or for each week C(days) (V(mon) to V(sun), all when not given),
        C(from) and C(to) (the whole day when not given), in the calendar's time zone.
    type: dict
    required: true
  pool:
    description: Names of the pools to look at. All of O(pools) when empty.
    type: list
    elements: str
    default: []
  tenant:
    description:
      - The tenant that this run is for. Pools of other tenants are left alone, and one that is named is refused.
      - Usually set once for all runs of a tenant, as the variable C(lowtide_tenant). All tenants when unset.
    type: str
  tenants:
    description:
      - What each tenant may have, by its name. Usually set once for all, as the variable C(lowtide_tenants).
      - Its keys are C(standbys), the tenant's own standbys, which no other tenant's pool may name; C(max_standbys), how many
        may be awake at a time; C(guaranteed_standbys), how many of shared ones it gets first when it needs them;
        C(budget_per_day), what standbys awake may cost from midnight to midnight of C(time_zone)
        (default V(UTC)).
      - Where it is given, the tenant of each pool must be in it.
    type: dict
    default: {}
  now:
    description:
      - The moment to decide for, ISO 8601; UTC unless it has an offset.
      - Give it to replay a decision. The present when unset.
    type: str
"""
