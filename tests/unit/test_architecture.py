# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Holds the code against the floors of docs/architecture.md."""

from __future__ import annotations

import ast
import functools
import graphlib
import pathlib
import re
import sys
import typing as t

import pytest

PLUGINS = pathlib.Path(__file__).resolve().parents[2] / "plugins"
COLLECTION = "ansible_collections.lowtide.fleet.plugins"
UTILS = f"{COLLECTION}.module_utils"

# The floor of each file or folder of module_utils. A new one must be put on a floor here and in docs/architecture.md.
FLOORS = {
    "errors": 0,
    "libraries": 0,
    "timing": 0,
    "series": 0,
    "forecasting": 1,
    "anomaly": 1,
    "planning": 2,
    "history": 3,
    "actuators": 3,
    "reporting": 3,
    "power_options": 4,
    "options": 4,
    "operations": 4,
    "face": 4,
}
FACES = 5
# What a module or a lookup may use of the floors below: what it calls, and the words both speak.
THIN = (f"{COLLECTION}.modules.", f"{COLLECTION}.lookup.")
THIN_USE = {"face", "operations", "options", "errors", "timing"}


class Import(t.NamedTuple):
    """One import: the absolute dotted module, as far as it can be told from the text, and its line."""

    module: str
    line: int


def parts_of(module: str) -> str | None:
    """The file or folder of module_utils that a module belongs to; None outside module_utils."""
    return module.removeprefix(f"{UTILS}.").partition(".")[0] if module.startswith(f"{UTILS}.") else None


def floor_of(module: str) -> int | None:
    """The floor of a module of the collection; None for any other."""
    part = parts_of(module)
    if part is not None:
        return FLOORS[part]
    return FACES if module.startswith(f"{COLLECTION}.") else None


def imports_of(source: str, module: str, *, package: bool = False) -> list[Import]:
    """What a module's code imports when it runs; imports for type checkers only are left out.

    ``from .. import options`` names the module ``options``; ``from ..options import pools`` names ``options.pools``.
    """
    found = []
    pending: list[ast.AST] = [ast.parse(source)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING":
            pending.extend(node.orelse)
            continue
        pending.extend(ast.iter_child_nodes(node))
        if isinstance(node, ast.Import):
            found.extend(Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")
                above = above[: len(above) - node.level + package]
                base = ".".join([*above, base] if base else above)
            found.extend(Import(f"{base}.{alias.name}", node.lineno) for alias in node.names)
    return found


def breaches_of(module: str, imports: list[Import]) -> list[str]:
    """What is wrong with a module's imports, a line each."""
    here, own = floor_of(module), parts_of(module)
    breaches = []
    for name, line in imports:
        there, root = floor_of(name), name.partition(".")[0]
        if there is not None:
            if there > here:
                breaches.append(f"{module}:{line} is on floor {here} and imports {name} of floor {there}")
            if module.startswith(THIN) and there < FACES and parts_of(name) not in THIN_USE:
                breaches.append(f"{module}:{line} is a face and reaches past the operations for {name}")
        elif root == "ansible_collections":
            breaches.append(f"{module}:{line} imports {name}, of another collection")
        elif root == "ansible":
            if here < FLOORS["options"]:
                breaches.append(f"{module}:{line} is on floor {here} and imports {name}")
        elif root not in sys.stdlib_module_names and own != "libraries":
            breaches.append(f"{module}:{line} imports {name}; third-party code comes through libraries.py")
    return breaches


@functools.cache
def modules() -> dict[str, list[Import]]:
    """Every Python file of plugins/, by dotted module name, with what it imports."""
    found = {}
    for path in sorted(PLUGINS.rglob("*.py")):
        names = path.relative_to(PLUGINS).with_suffix("").parts
        package = names[-1] == "__init__"
        module = ".".join([COLLECTION, *(names[:-1] if package else names)])
        found[module] = imports_of(path.read_text(encoding="utf-8"), module, package=package)
    return found


def test_every_part_of_module_utils_has_a_floor():
    entries = {path.stem for path in (PLUGINS / "module_utils").iterdir() if path.suffix == ".py" or path.is_dir()}
    assert entries - {"__init__", "__pycache__"} <= set(FLOORS)


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports_only_from_below(module):
    assert breaches_of(module, modules()[module]) == []


def test_no_part_imports_in_a_circle():
    """Siblings on one floor have an order too."""
    below: dict[str, set[str]] = {}
    for module, imports in modules().items():
        part = parts_of(module)
        if part is not None:
            used = {parts_of(name) for name, _line in imports}
            below.setdefault(part, set()).update(used - {part, None})
    list(graphlib.TopologicalSorter(below).static_order())


@pytest.mark.parametrize(
    ("module", "source", "breach"),
    [
        ("module_utils.forecasting.models", "from ..planning import demand", "imports .*planning.demand of floor 2"),
        ("module_utils.forecasting.models", "from ..planning.demand import pool_demand", "of floor 2"),
        ("module_utils.series", "def f():\n    from . import options", "floor 0 and imports .*options of floor 4"),
        ("module_utils.history.duck", "from ansible.module_utils import basic", "floor 3 and imports ansible"),
        ("module_utils.planning.scaling", "import numpy as np", "third-party code comes through libraries.py"),
        ("module_utils.face", "import yaml", "third-party code comes through libraries.py"),
        ("modules.forecast", f"from {UTILS}.history import open", "reaches past the operations"),
        ("modules.forecast", "from ansible_collections.community.vmware.plugins import x", "of another collection"),
    ],
)
def test_a_breach_is_seen(module, source, breach):
    module = f"{COLLECTION}.{module}"
    found = breaches_of(module, imports_of(source, module))
    assert len(found) == 1
    assert re.search(breach, found[0])


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("module_utils.series", "from .libraries import numpy as np\nif t.TYPE_CHECKING:\n    import numpy"),
        ("module_utils.libraries", "import numpy"),
        ("module_utils.operations.forecast", "from .. import options\nfrom ..planning import demand\nimport ansible"),
        ("modules.forecast", f"from {UTILS} import face\nfrom {UTILS}.operations import forecast"),
    ],
)
def test_what_is_allowed_passes(module, source):
    module = f"{COLLECTION}.{module}"
    assert breaches_of(module, imports_of(source, module)) == []


def test_a_package_counts_from_itself():
    module = f"{UTILS}.planning"
    assert imports_of("from .demand import x", module, package=True) == [Import(f"{UTILS}.planning.demand.x", 1)]
