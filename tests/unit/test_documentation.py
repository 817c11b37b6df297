# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Holds what is documented against what is accepted, and the lists of what there is against what there is."""

from __future__ import annotations

import importlib
import pathlib
import re
import typing as t

import pytest
import yaml
from ansible_collections.lowtide.fleet.plugins.module_utils import face, libraries, options

ROOT = pathlib.Path(__file__).resolve().parents[2]
COLLECTION = "ansible_collections.lowtide.fleet.plugins"
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
LOOKUPS = sorted(path.stem for path in (ROOT / "plugins/lookup").glob("*.py"))
# Where there is an action plugin, the module of the same name is its documentation only.
ACTIONS = sorted(path.stem for path in (ROOT / "plugins/action").glob("*.py"))
# The pages that list the variables of playbooks.
PAGES = ("quick-start.md", "rolling-updates.md")
Options = t.Dict[str, t.Dict[str, t.Any]]


def differences(spec: Options, documented: Options, path: str = "") -> list[str]:
    """Where a specification and the documented options disagree, a line each."""
    found = [f"{path}{name} is documented and not accepted" for name in sorted(documented.keys() - spec.keys())]
    found += [f"{path}{name} is accepted and not documented" for name in sorted(spec.keys() - documented.keys())]
    for name in sorted(spec.keys() & documented.keys()):
        accepted, said = spec[name], documented[name]
        for key, absent in (("type", "str"), ("elements", None), ("required", False), ("default", None)):
            taken = accepted.get(key, absent)
            if key == "default" and accepted.get("options") and isinstance(taken, dict):
                taken = {}  # Ansible fills in the defaults of its parts, in the specification itself.
            if taken != said.get(key, absent):
                found.append(f"{path}{name}: {key} is {taken}, documented {said.get(key, absent)}")
        for key in ("choices", "aliases"):
            if sorted(accepted.get(key) or []) != sorted(said.get(key) or []):
                found.append(f"{path}{name}: {key} are {accepted.get(key)}, documented {said.get(key)}")
        if accepted.get("options") or said.get("suboptions"):
            found += differences(accepted.get("options") or {}, said.get("suboptions") or {}, f"{path}{name}.")
    return found


def fragment(name: str) -> Options:
    """The options of a documentation fragment."""
    module, _dot, attribute = name.partition(".")
    code = importlib.import_module(f"{COLLECTION}.doc_fragments.{module}")
    return yaml.safe_load(getattr(code.ModuleDocFragment, (attribute or "documentation").upper())).get("options") or {}


def documentation(kind: str, name: str) -> dict[str, t.Any]:
    """The documentation of a plugin, with the options of its fragments."""
    said = yaml.safe_load(importlib.import_module(f"{COLLECTION}.{kind}.{name}").DOCUMENTATION)
    merged: Options = {}
    for used in said.get("extends_documentation_fragment", []):
        for option, more in fragment(used.removeprefix("lowtide.fleet.")).items() if used.startswith("lowtide") else ():
            merged[option] = {**more, **merged.get(option, {})}
    # As Ansible does: what the plugin says of an option goes over what fragments say, and these over later ones, key by key.
    for option, own in (said.get("options") or {}).items():
        merged[option] = {**merged.get(option, {}), **own}
    return {**said, "options": merged}


def accepted_by(module: str, monkeypatch: pytest.MonkeyPatch) -> Options:
    """The specification a module runs with."""
    specs = []
    monkeypatch.setattr(face, "run", lambda operation, spec, **_rest: specs.append(spec))
    importlib.import_module(f"{COLLECTION}.modules.{module}").main()
    (spec,) = specs
    return spec


def test_the_fragment_of_pools_says_what_is_accepted():
    assert differences(options.COMMON, fragment("pools")) == []


@pytest.mark.parametrize("module", sorted(set(MODULES) - set(ACTIONS)))
def test_a_module_documents_what_it_accepts(module, monkeypatch):
    assert differences(accepted_by(module, monkeypatch), documentation("modules", module)["options"]) == []


@pytest.mark.parametrize("lookup", sorted(set(LOOKUPS) & set(MODULES)))
def test_a_lookup_takes_what_its_module_takes(lookup):
    """Not all of it: the terms stand for the pools, and structures are documented once, at the module."""
    module, said = documentation("modules", lookup)["options"], documentation("lookup", lookup)["options"]
    comparable = [
        {
            name: {key: value for key, value in option.items() if key not in ("suboptions", "options", "required")}
            for name, option in taken.items()
            if name not in ("_terms", "pool")
        }
        for taken in (module, said)
    ]
    assert differences(*comparable) == []


@pytest.mark.parametrize("lookup", ["update_batch", "update_batches", "update_hosts"])
def test_a_lookup_that_plans_on_the_spot_takes_what_update_plan_takes(lookup):
    """But for what makes no sense there: the terms stand for the pools, and the play's limit for hosts."""
    module, said = documentation("modules", "update_plan")["options"], documentation("lookup", lookup)["options"]
    assert said.keys() - module.keys() == {"_terms", "plan"}
    assert module.keys() - said.keys() == {"hosts", "pool", "simulate", "simulate_weeks"}
    for name in said.keys() & module.keys() - {"history", "pools", "tenants", "use_standbys"}:
        keys = ("type", "elements", "choices", "default", "suboptions")
        assert [said[name].get(key) for key in keys] == [module[name].get(key) for key in keys], name


@pytest.mark.parametrize("pool_option", sorted(options.POOL))
def test_the_fragment_of_pools_names_every_part_of_a_pool(pool_option):
    assert f"C({pool_option})" in " ".join(fragment("pools")["pools"]["description"])


def test_the_action_group_is_the_modules():
    runtime = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))
    assert runtime["action_groups"]["fleet"] == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_states_its_attributes(module):
    used = documentation("modules", module)["extends_documentation_fragment"]
    said = documentation("modules", module).get("attributes", {})
    assert "lowtide.fleet.attributes" in used
    if "lowtide.fleet.attributes.reads" not in used:
        assert {"check_mode", "diff_mode", "idempotent"} <= said.keys()


def test_the_execution_environment_installs_the_libraries():
    """meta/requirements.txt asks for each library of libraries.py, at the version that will do; extras it leaves out."""
    wanted = {
        (library._distribution, library._minimum)
        for library in vars(libraries).values()
        if isinstance(library, libraries.Library) and not library._extra
    }
    lines = (ROOT / "meta/requirements.txt").read_text(encoding="utf-8").splitlines()
    asked = {tuple(re.split(">=", line)) for line in lines if not line.startswith("#")}
    assert asked == wanted


@pytest.mark.parametrize(
    ("spec", "documented", "difference"),
    [
        ({"a": {}}, {}, "a is accepted and not documented"),
        ({}, {"a": {"type": "str"}}, "a is documented and not accepted"),
        ({"a": {"type": "int"}}, {"a": {"type": "str"}}, "a: type is int, documented str"),
        ({"a": {"default": 1}}, {"a": {"default": 2}}, "a: default is 1, documented 2"),
        ({"a": {"choices": ["x"]}}, {"a": {"choices": ["y"]}}, "a: choices are ['x'], documented ['y']"),
        (
            {"a": {"type": "dict", "options": {"b": {"required": True}}}},
            {"a": {"type": "dict", "suboptions": {"b": {}}}},
            "a.b: required is True, documented False",
        ),
    ],
)
def test_a_difference_is_seen(spec, documented, difference):
    assert differences(spec, documented) == [difference]


def test_the_variables_that_playbooks_read_are_told():
    """In the pages that list them: a name that nobody finds might as well not be there."""
    told = set(re.findall(r"lowtide_\w+", "".join((ROOT / "docs" / page).read_text("utf-8") for page in PAGES)))
    parts = [*ROOT.glob("playbooks/**/*.yml"), *ROOT.glob("roles/*/defaults/*.yml"), *ROOT.glob("roles/*/tasks/*.yml")]
    read = set(re.findall(r"lowtide_\w+", "".join(path.read_text("utf-8") for path in parts)))
    assert read - told == {"lowtide_pool"}  # which a loop sets
