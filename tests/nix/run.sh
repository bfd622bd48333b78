#!/usr/bin/env bash
# The Nix checks: see README.md. REVEILLE=PROGRAM is the program that judges manifests.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
here=tests/nix
program=$(realpath "${REVEILLE:-${CARGO_TARGET_DIR:-target}/debug/reveille}")
[[ -x $program ]] || { echo "nix: $program is not there; cargo build makes it"; exit 1; }

ready=$("$here/setup.sh")
path_of() { sed -n "s/^$1=//p" <<<"$ready"; }
nixfmt=$(path_of nixfmt)
deadnix=$(path_of deadnix)
actionlint=$(path_of actionlint)

work=$(mktemp -d)
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT

# Nix touches nothing outside of the folder, and asks nobody.
mkdir "$work/conf"
cat >"$work/conf/nix.conf" <<'CONF'
experimental-features = nix-command flakes
substituters =
build-users-group =
sandbox = false
flake-registry =
warn-dirty = false
CONF
export NIX_CONF_DIR=$work/conf NIX_STATE_DIR=$work/state NIX_LOG_DIR=$work/log XDG_CACHE_HOME=$work/cache
unset NIX_PATH
nix() { "$(path_of nix)" --store "$work/store" "$@"; }
hosts() { nix eval --impure --file "$here/hosts.nix" "$@"; }
python() { python3 -c "import ast, json, os, pathlib, re, sys
$1" "${@:2}"; }

# === one line for each check ===

failures=0
check() {
  local name=$1
  shift
  if "$@" >"$work/said" 2>&1; then
    printf 'ok    %s\n' "$name"
  else
    printf 'FAIL  %s\n' "$name"
    sed 's/^/      /' "$work/said"
    failures=$((failures + 1))
  fi
}

# Whether the command fails, and says so in these words.
refuses() {
  local says=$1
  shift
  if "$@" >"$work/refusal" 2>&1; then
    echo "was accepted; expected: $says"
    return 1
  fi
  grep -qF -- "$says" "$work/refusal" || {
    echo "expected: $says"
    cat "$work/refusal"
    return 1
  }
}

# === the files ===

mapfile -t files < <(git ls-files --cached --others --exclude-standard '*.nix')
formatted() { "$nixfmt" --check "${files[@]}"; }
alive() { "$deadnix" --fail "${files[@]}"; }
# What the public host would run; the shell in it is looked at by nobody else.
workflows() { "$actionlint" -shellcheck= -pyflakes= .github/workflows/*.yml; }

# === the flake ===

# Git shows nix only what it tracks, and `nix flake` would write to the index: a copy is what is looked at.
copy() {
  mkdir "$work/flake"
  git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do
      # A file that is deleted and not committed is still listed.
      [[ ! -e $file ]] || printf '%s\0' "$file"
    done | tar --null --files-from - --create | tar --extract --directory "$work/flake"
  git -C "$work/flake" init --quiet
  git -C "$work/flake" add --all
}
flake=git+file://$work/flake
instead=(--no-write-lock-file --override-input nixpkgs "path:$root/$here/stub")

# Everything but a build: each output of each system is evaluated.
whole() { nix flake check --no-build "${instead[@]}" "$flake"; }
# Fails when flake.nix has an input that flake.lock does not know, or the other way round.
in_step() {
  nix flake lock --no-update-lock-file "$flake" &&
    nix flake metadata --json --no-write-lock-file "$flake" >"$work/metadata" &&
    python '
nodes = json.load(open(sys.argv[1]))["locks"]["nodes"]
inputs = {name: node for name, node in nodes.items() if name != "root"}
assert set(inputs) == set(nodes["root"]["inputs"].values()), "an input is locked and not used"
for name, node in inputs.items():
    assert re.fullmatch("[0-9a-f]{40}", node["locked"]["rev"]), f"{name} is not pinned by revision"
    assert node["locked"]["narHash"].startswith("sha256-"), f"{name} has no hash"
' "$work/metadata"
}
# The driver of NixOS tests runs this with Python.
test_script() {
  nix eval --raw "${instead[@]}" "$flake#checks.x86_64-linux.boots.testScript" >"$work/boots.py" &&
    python 'ast.parse(open(sys.argv[1]).read())' "$work/boots.py" &&
    local machine && for machine in bios pxe http; do grep -q "\"$machine\": " "$work/boots.py"; done
}
embedded() {
  nix eval --raw "${instead[@]}" "$flake#packages.x86_64-linux.ipxe.text" >/dev/null &&
    grep -q 'embedScript = ../src/script/first.ipxe;' nix/ipxe.nix && [[ -f src/script/first.ipxe ]]
}

# The flake that a user starts from, with this one as its input.
example() {
  nix eval --raw --no-write-lock-file --override-input reveille "$flake" \
    --override-input reveille/nixpkgs "path:$root/$here/stub" --override-input nixpkgs "path:$root/$here/stub" \
    "path:$root/examples/nixos#nixosConfigurations.bootserver.config.systemd.units.\"reveille.service\".text" |
    grep -q '"--root" "worker=/nix/store/'
}
# The page shows the example and the first script as they are.
# shellcheck disable=SC2016 # Python
shown() {
  python '
page = open("docs/install/nixos.md").read()
for name, first in [("examples/nixos/flake.nix", "{\n"), ("examples/nixos/bootserver.nix", "{\n"), ("src/script/first.ipxe", "#!ipxe")]:
    text = open(name).read()
    text = text[text.index(first):]
    assert text in page, f"docs/install/nixos.md does not show {name} as it is"
'
}

# === hosts ===

evaluated() { hosts --json served >"$work/served.json"; }

# What the evaluated hosts must say; each line a fact about one of them.
# shellcheck disable=SC2016 # Python
facts() {
  python '
hosts = json.load(open(sys.argv[1]))
def same(what, got, wanted):
    assert got == wanted, f"{what}: {got}, expected {wanted}"
def started(name):
    line = re.search("^ExecStart=(.*)$", hosts[name]["unit"], re.M).group(1)
    return re.findall("\"((?:[^\"\\\\]|\\\\.)*)\"", line)[1:]
def has(name, *words):
    line = started(name)
    assert any(tuple(line[i:i + len(words)]) == words for i in range(len(line))), f"{name}: {words} not in {line}"

full = hosts["full"]
same("firewall", full["firewall"], {"enp1s0": {"allowedTCPPorts": [8080], "allowedUDPPorts": [67, 69]}})
same("full", started("full")[:3], ["serve", "/etc/reveille/boot", "/srv/more"])
has("full", "--http", "0.0.0.0:8080")
has("full", "--discovered-max", "10")
has("full", "--no-listing")
has("full", "--root", "isos=/srv/50%% of isos")
assert "LoadCredential=token:/run/secrets/token\n" in full["unit"], full["unit"]
same("artifacts", full["tmpfiles"], ["d /data/boot 0755 root root -"])
same("machine", full["manifests"]["machines-node-7.json"]["metadata"], {"name": "node-7", "labels": {"role": "worker"}})

small = hosts["small"]
same("no firewall unless asked", small["firewall"], {})
assert "/bin/reveille check $out\n" in small["etc"]["reveille/boot"], small["etc"]
loaders = [word for word in started("small") if word.endswith("-reveille-ipxe")]
same("loaders", len(loaders), 1)

subnet = hosts["merged"]["manifests"]["subnets-lab.json"]["spec"]
same("lists of two modules", subnet["routers"], ["192.0.2.1", "192.0.2.2"])
same("mkForce", subnet["mode"], "Disabled")

same("cluster", started("cluster")[:1], ["operator"])
has("cluster", "--kubeconfig", "/run/credentials/reveille.service/kubeconfig")
has("cluster", "--namespace", "boot")
has("cluster", "--replicas", "2")
same("firewall", hosts["cluster"]["firewall"], {"enp1s0": {"allowedTCPPorts": [80], "allowedUDPPorts": [67, 69, 547, 4011]}})

profile = hosts["nixos"]["manifests"]["bootprofiles-worker.json"]["spec"]
same("kernel", profile["linux"]["kernel"]["path"], "worker/bzImage")
assert re.fullmatch("init=/nix/store/[^/]+/init", profile["linux"]["args"][0]), profile
same("default", profile["default"], True)
roots = [word for word in started("nixos") if word.startswith("worker=/nix/store/")]
same("the files are served", len(roots), 1)

same("warnings", hosts["small"]["warnings"], [])
assert "answer in turns" in hosts["two-servers"]["warnings"][0]
' "$work/served.json"
}

# Writes the manifests that a host of `$1.$2` would serve.
manifests_of() {
  local folder=$work/manifests/$1-$2
  mkdir -p "$folder"
  hosts --json "$1.$2.manifests" >"$folder.json" &&
    python '
for name, value in json.load(open(sys.argv[1])).items():
    pathlib.Path(sys.argv[2], name).write_text(json.dumps(value))
' "$folder.json" "$folder" && echo "$folder"
}
accepted() {
  local folder
  folder=$(manifests_of served "$1") && "$program" check --warnings-as-errors "$folder"
}
said_by_check() {
  local folder says
  folder=$(manifests_of checked "$1") && says=$(hosts --raw "checked.$1.says") &&
    refuses "$says" "$program" check "$folder"
}
refused() {
  local says
  says=$(hosts --raw "refused.$1.says") && refuses "$says" hosts --json "refused.$1.result"
}
names() { hosts --json "$1" --apply builtins.attrNames | python 'print("\n".join(json.load(sys.stdin)))'; }

page() {
  hosts --raw page >"$work/page"
  if [[ -n ${UPDATE_GOLDEN:-} ]]; then
    cp "$work/page" docs/install/nixos-options.md
  fi
  diff docs/install/nixos-options.md "$work/page" || { echo "run \`make docs\`"; return 1; }
}

# === units ===

# A unit with the program of this run, so that the host's systemd can look at it.
unit_of() {
  local out=$work/$1/reveille.service
  mkdir -p "$work/$1"
  case $1 in
    plain) sed "s|/usr/local/bin/reveille|$program|" dist/systemd/reveille.service >"$out" ;;
    *) python '
unit = json.load(open(sys.argv[1]))[sys.argv[2]]["unit"]
print(re.sub("/nix/store/[^/]*-reveille/bin/reveille", sys.argv[3], unit))
' "$work/served.json" "$1" "$program" >"$out" ;;
  esac
  echo "$out"
}
verified() {
  local unit
  unit=$(unit_of "$1")
  # It says what it does not know and succeeds all the same.
  systemd-analyze verify --man=no "$unit" 2>&1 | tee "$work/verify" && [[ ! -s $work/verify ]]
}
secure() { systemd-analyze security --no-pager --offline=true --threshold=20 "$(unit_of "$1")"; }
# Each line of the plain unit, but for what names files, is one of the NixOS unit.
same_hardening() {
  sed -n '/^\[Service]/,/^\[Install]/p' "$(unit_of plain)" | grep -E '^[A-Z]' |
    grep -vE '^(ExecStart|EnvironmentFile)=' | sort >"$work/plain.lines"
  grep -E '^[A-Z]' "$(unit_of full)" | sort >"$work/nixos.lines"
  (($(wc -l <"$work/plain.lines") > 30)) && [[ -z $(comm -23 "$work/plain.lines" "$work/nixos.lines" | tee /dev/stderr) ]]
}

# === all of it ===

mkdir -p "$work/manifests"
if [[ ${ONLY:-} == page ]]; then
  check "docs/install/nixos-options.md is up to date" page
  exit $((failures > 0))
fi
check "nixfmt: ${#files[@]} files" formatted
check "deadnix" alive
check "actionlint: workflows" workflows
copy
check "flake check, every output of every system" whole
check "flake.lock is in step with flake.nix" in_step
check "the script of the machines that boot is Python" test_script
check "iPXE has the first script built in" embedded
check "the example's flake" example
check "the page shows the example and the first script" shown
check "hosts are evaluated" evaluated
[[ -s $work/served.json ]] || { echo "nix: no host can be evaluated; the rest makes no sense"; exit 1; }
check "what comes of them" facts
for name in $(names served); do
  [[ $name == cluster ]] || check "reveille check takes the host $name" accepted "$name"
done
for name in $(names refused); do
  check "refused: $name" refused "$name"
done
for name in $(names checked); do
  check "refused by reveille check: $name" said_by_check "$name"
done
check "docs/install/nixos-options.md is up to date" page
for name in plain full cluster; do
  check "systemd knows every line of the unit: $name" verified "$name"
  check "systemd-analyze security, 2.0 at most: $name" secure "$name"
done
check "what is hardened in the plain unit is in NixOS" same_hardening

# The archive of a release, of a program without what debuggers read.
archive() {
  strip -o "$work/reveille" "$program" &&
    for folder in once again; do
      PROGRAM=$work/reveille ONLY=archive dist/release.sh "$work/$folder" || return
    done
  cmp "$work"/{once,again}/SHA256SUMS && (cd "$work/once" && sha256sum --check SHA256SUMS)
}
check "the archive of a release, the same to the byte when made again" archive
status=0
"$here/boot-under-systemd.sh" "$work"/once/*.tar.gz || status=$?
# Skipped is said; a build server must not pass for want of something.
((status == 0)) || { ((status == 3)) && [[ -z ${CI:-} ]]; } || failures=$((failures + 1))

((failures == 0)) || { echo "nix: $failures failed"; exit 1; }
echo "nix: all passed; what needs a binary cache (package, iPXE, image, NixOS machines) was evaluated, not built"
