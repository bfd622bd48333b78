# `make` lists what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# Two compilers at once: the link step of a third needs memory that small machines lack.
export CARGO_BUILD_JOBS ?= 2

# What `make test` runs beside `cargo test`; each has its setup.sh in tests/.
suites := lab cluster chart watch nix edge

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
test: ## packages, check, unit and the suites, each of which names what it lacks
	@$(call part,packages)
	declare -A lacks=()
	for suite in $(suites); do
	  status=0
	  tests/$$suite/setup.sh >/dev/null || status=$$?
	  case $$status in
	    0) echo "$$suite: all there" ;;
	    3) lacks[$$suite]=yes ;; # something is missing, and setup.sh has named it
	    *) exit $$status ;;
	  esac
	done
	$(MAKE) check unit
	for suite in $(suites); do
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
	cargo clippy --features otlp --lib --test traces -- -D warnings
	$(call part,documentation)
	RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --document-private-items

.PHONY: unit
unit: ## cargo test: no root, no network
	@$(call part,unit)
	cargo test
	cargo test --features otlp --test traces

.PHONY: fuzz
fuzz: ## mutated packets, guided by what they reach; only="dhcp4" chooses, REVEILLE_FUZZ_RUNS says how many
	@$(call part,fuzz)
	tests/fuzz/run.sh $(only)

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

.PHONY: nix
nix: ## the flake, the NixOS module and the systemd unit, without a network; a machine boots by the unit
	@$(call part,nix)
	# The program that the other suites have, too: `cargo build` would make another.
	cargo test --quiet --test lab --no-run
	tests/nix/run.sh

.PHONY: chart
chart: ## the Helm chart, rendered and refused by real Helm; only="rights refused" chooses by name
	@$(call part,chart)
	REVEILLE_CHART=1 cargo test --test chart -- $(only)

.PHONY: values
values: ## write the table of values in the chart's README anew, and what `settings` takes
	charts/settings.py
	charts/readme.py

.PHONY: image
image: ## the container image for amd64 and arm64, and its checks; only="amd64" chooses
	@$(call part,image)
	image/check.sh $(only)

.PHONY: edge
edge: ## the chart on a real node wakes a virtual machine, through upgrades and outages (root)
	@$(call part,edge)
	# The program that the other suites have, too: building what ships takes longer than trying it.
	export REVEILLE_IMAGE_PROFILE=$${REVEILLE_IMAGE_PROFILE:-dev}
	REVEILLE_EDGE=1 cargo test --test edge

.PHONY: bench
bench: ## beside Kea, tftpd-hpa and nginx (root, half an hour); only="--quick http" chooses
	@cargo build --release --bin reveille --bench machines
	benches/peers.sh $(only)

.PHONY: crds
crds: ## write crds/, docs/api.md, docs/metrics.md, nix/*.json and the example's roles anew from the code
	cargo run --quiet -- crds --output-dir crds
	cargo run --quiet -- crds --schemas > nix/schemas.json
	cargo run --quiet -- settings > nix/settings.json
	cargo run --quiet -- reference > docs/api.md
	cargo run --quiet -- reference metrics > docs/metrics.md
	cargo run --quiet -- rbac > examples/operator/rbac.yaml

.PHONY: docs
docs: crds ## write the pages that are made: those of `crds`, and the options of the NixOS module
	@UPDATE_GOLDEN=1 ONLY=page tests/nix/run.sh

.PHONY: release
release: ## archives, SBOM, chart and checksums in target/release-files; TARGETS="a b" cross-builds
	@dist/release.sh

.PHONY: setup
setup: ## install, fetch and build what demo, test and its suites need (root)
	@for suite in $(suites); do tests/$$suite/setup.sh; done
