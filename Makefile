# `make` lists what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Two compilers at once: the link step of a third needs memory that small machines lack.
export CARGO_BUILD_JOBS ?= 2

# A heading for one part of `make test`.
part = printf '\n=== %s\n' '$(1)'

.PHONY: help
help: ## list the targets
	@printf 'make TARGET\n\n'
	sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null ||
	  sed -n 's/^\([a-z]*\):.*## \(.*\)/  \1  \2/p' $(MAKEFILE_LIST)

.PHONY: demo
demo: ## wake three virtual machines and tell how it went (a minute)
	@tests/lab/setup.sh >/dev/null
	cargo test --test lab --no-run
	cargo test --quiet --test lab -- demo

.PHONY: test
test: ## everything: packages, check, unit, lab, cluster, watch
	@$(call part,packages)
	declare -A lacks=()
	for suite in lab cluster watch; do
	  status=0
	  tests/$$suite/setup.sh >/dev/null || status=$$?
	  case $$status in
	    0) echo "$$suite: all there" ;;
	    3) lacks[$$suite]=yes ;; # something is missing, and setup.sh has named it
	    *) exit $$status ;;
	  esac
	done
	$(MAKE) check unit
	for suite in lab cluster watch; do
	  if [[ -z "$${lacks[$$suite]:-}" ]]; then
	    $(MAKE) $$suite
	  else
	    printf '\n=== %s\n' "$$suite"
	    echo "not run: this machine lacks what is named under \"packages\" above"
	  fi
	done
	# A build server must not pass for want of a package.
	[[ -z "$${CI:-}" ]] || (($${#lacks[@]} == 0))

.PHONY: check
check: ## format, lints, documentation; warnings are errors
	@$(call part,format)
	cargo fmt --check
	$(call part,lints)
	cargo clippy --all-targets -- -D warnings
	$(call part,documentation)
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --document-private-items

.PHONY: unit
unit: ## cargo test: no root, no network
	@$(call part,unit)
	cargo test

.PHONY: lab
lab: ## virtual machines boot, the night is tried; only="bios uefi-pxe" chooses by name
	@$(call part,lab)
	REVEILLE_LAB=1 cargo test --test lab -- $(only)

.PHONY: cluster
cluster: ## a real API server, our kinds, accounts and outages; only="resources fixtures" chooses by name
	@$(call part,cluster)
	REVEILLE_CLUSTER=1 cargo test --test cluster -- $(only)

.PHONY: watch
watch: ## dashboards, metrics and alerts beside a real Prometheus; UPDATE_GOLDEN=1 draws the pictures anew
	@$(call part,watch)
	dashboards/make.py --check
	promtool=$$(tests/watch/setup.sh | sed -n 's/^promtool=//p')
	"$$promtool" check rules dashboards/alerts/rules.yaml
	"$$promtool" test rules dashboards/alerts/rules_test.yaml
	REVEILLE_WATCH=1 cargo test --test watch

.PHONY: bench
bench: ## beside Kea, tftpd-hpa and nginx (root, ten minutes); only="--quick http" chooses
	@cargo build --release
	benches/peers.sh $(only)

.PHONY: crds
crds: ## write crds/, docs/api.md, docs/metrics.md and the example's roles anew from the code
	cargo run --quiet -- crds --output-dir crds
	cargo run --quiet -- reference > docs/api.md
	cargo run --quiet -- reference metrics > docs/metrics.md
	cargo run --quiet -- rbac > examples/operator/rbac.yaml

.PHONY: setup
setup: ## install, fetch and build what demo, test, lab, cluster and watch need (root)
	@tests/lab/setup.sh
	tests/cluster/setup.sh
	tests/watch/setup.sh
