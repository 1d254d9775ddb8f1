# `make help` tells what there is. Everything made here is in .venv/ and build/.

STAGES ?= house unit live vm-6.12 vm-6.1
PYTHON ?= python3
RESULTS := build/results
TALLY ?= .ci/tally $(RESULTS)

# Seconds for a stage on this host; chosen: ten times what the slowest takes. The lab has a limit of its own.
LIMIT := timeout --kill-after=30 900
# xunit1: its test cases name their file, which .ci/tally needs.
PYTEST := $(LIMIT) .venv/bin/python -m pytest -q -o junit_family=xunit1
# What takes minutes of an emulated guest is left to `make acceptance`.
SHORT := -m 'vm and not long'
VENV := .venv/.stamp

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test house unit live vm-6.12 vm-6.1 acceptance bench bench-full lab clean

help:
	@echo 'make demo        the two-workload scenario, here if this host can show it, else in a guest'
	@echo 'make test        every stage ($(STAGES)) and a tally; choose with STAGES="house unit"'
	@echo 'make house       the house rules: layers, lengths, words, linters, commits, documents'
	@echo 'make unit        tests without root'
	@echo 'make live        tests on the cgroup2 of this host (root)'
	@echo 'make vm-6.12     tests in a guest with kernel 6.12, without swap'
	@echo 'make vm-6.1      the original scenario and the module in a guest with kernel 6.1 and swap'
	@echo 'make acceptance  everything that cgoom promises, measured in guests; takes hours'
	@echo 'make bench       cgoom beside the other daemons, 15 minutes; into bench/results/'
	@echo 'make bench-full  every daemon in every scenario; takes hours, goes on where it stopped'
	@echo 'make lab         build the image of the guests'
	@echo 'make clean       remove .venv/, build/ and caches'

$(VENV): pyproject.toml
	.ci/packages
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[test]'
	touch $@

demo: $(VENV)
	@if [ "$$(id -u)" -eq 0 ] && grep -qsw memory /sys/fs/cgroup/cgroup.controllers \
			&& [ -w /sys/fs/cgroup/cgroup.subtree_control ]; then \
		.venv/bin/cgoom demo; \
	else \
		.venv/bin/python vagrant/lab demo; \
	fi

# Every stage runs, whatever became of the one before; its status is part of what is tallied.
test:
	@rm -rf $(RESULTS)
	@mkdir -p $(RESULTS); for stage in $(STAGES); do \
		echo "== $$stage"; \
		$(MAKE) --no-print-directory "$$stage"; \
		echo $$? >"$(RESULTS)/$$stage.status"; \
	done
	@$(TALLY)

house: $(VENV)
	$(PYTEST) --junit-xml=$(RESULTS)/house.xml tests/house

unit: $(VENV)
	$(PYTEST) --junit-xml=$(RESULTS)/unit.xml --ignore=tests/house tests

live: $(VENV)
	@[ "$$(id -u)" -eq 0 ] || { echo 'live: needs root: sudo make live' >&2; exit 1; }
	$(PYTEST) --junit-xml=$(RESULTS)/live.xml -m live tests/live

vm-6.12: $(VENV)
	.ci/vm-stage 6.12 0 vm-6.12 $(SHORT)

vm-6.1: $(VENV)
	.ci/vm-stage 6.1 512 vm-6.1 $(SHORT) --runs 1 -k 'test_original or test_module_netlink or test_module_loading'

acceptance: $(VENV)
	.venv/bin/python tests/acceptance.py

bench bench-full: $(VENV)
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	.venv/bin/python -m bench $(if $(filter bench-full,$@),--full)

lab: $(VENV)
	.venv/bin/python vagrant/lab build

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
