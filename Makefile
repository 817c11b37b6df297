# Copyright: The Lowtide authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

.DEFAULT_GOAL := help
.PHONY: help setup demo test unit search integration kubernetes sanity lint docs format lock clean

help: ## List the targets.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

setup: ## Install what the tests and the demo need: Debian packages, and Python packages in .venv.
	@tests/setup.sh

demo: setup ## Run the main job against a real HAProxy and a simulated vSphere, under three minutes.
	@.venv/bin/python tests/demo/run.py

test: setup ## Run every check and test, about half an hour.
	@tests/gate.sh

unit: setup ## Run the unit tests, under a minute.
	@tests/gate.sh unit

search: setup ## Look for inputs that break what the unit tests claim, other ones each time.
	@tests/gate.sh search

integration: setup ## Run the integration tests: playbooks against real parts.
	@tests/gate.sh integration

kubernetes: setup ## Try Kubernetes standbys on a real cluster, built from Debian's sources, some ten minutes.
	@tests/gate.sh kubernetes

sanity: setup ## Run ansible-test's sanity and unit tests.
	@tests/gate.sh sanity units

lint: setup ## Check format, playbooks, plugin documentation, changelog and licences.
	@tests/gate.sh format lint docs-lint changelog licenses

docs: setup ## Build the HTML documentation in docs/_build/html.
	@tests/gate.sh docs

format: setup ## Rewrite the Python files in the project's format.
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

lock: ## Choose the newest Python packages for tests/requirements.in and pin them.
	@tests/lock.sh

clean: ## Remove everything that was built or installed here, .venv included.
	rm -rf .build .cache .venv .pytest_cache .ruff_cache .hypothesis .ansible tests/output docs/_build demo-report.html
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
