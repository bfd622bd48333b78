#!/usr/bin/env bash
# Makes ready what the lab needs: packages, a small kernel, a tiny initrd, network loaders.
#
#   tests/lab/setup.sh          install what is missing (root), fetch and build, print the paths
#   tests/lab/setup.sh --check  the same, but install nothing
#
# Progress goes to stderr. Stdout is for the lab: one `name=path` per line.
# Everything that is made lives in one cache folder and is keyed by version; a second run finds it there.
# Exit codes: 0 ready; 3 something is missing that we may not add, and it is named; else a failure.
set -euo pipefail
# What a $(…) calls may fail for the caller, too.
shopt -s inherit_errexit
export LC_ALL=C DEBIAN_FRONTEND=noninteractive

cache=${REVEILLE_LAB_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/reveille/lab}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
may_install=true
[[ ${1:-} == --check ]] && may_install=false

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$1"; exit "${2:-1}"; }

# === packages ===

# Reads lines of what must be there and the package that brings it; prints the packages that are missing.
missing() {
  local path package
  while read -r path package; do
    [[ -e $path ]] || command -v "$path" >/dev/null || echo "$package"
  done
}

packages_missing() {
  missing <<'LIST'
qemu-system-x86_64              qemu-system-x86
/usr/share/OVMF/OVMF_CODE_4M.fd ovmf
/usr/lib/ipxe/undionly.kpxe     ipxe
/usr/lib/ipxe/qemu              ipxe-qemu
ip                              iproute2
unshare                         util-linux
cpio                            cpio
gzip                            gzip
cc                              build-essential
tcpdump                         tcpdump
objcopy                         binutils
/usr/lib/systemd/boot/efi/linuxx64.efi.stub systemd-boot-efi
grub-mkrescue                   grub-common
/usr/lib/grub/i386-pc           grub-pc-bin
/usr/lib/grub/x86_64-efi        grub-efi-amd64-bin
mformat                         mtools
xorriso                         xorriso
LIST
}

# Programs that single trials need. Without one its trial is skipped, and says so.
wishes_missing() {
  missing <<'LIST'
udhcpc   udhcpc
dhclient isc-dhcp-client
dhcpcd   dhcpcd-base
/lib/systemd/systemd-networkd systemd
perfdhcp kea-admin
curl     curl
dnsmasq  dnsmasq-base
kea-dhcp4 kea-dhcp4-server
atftp    atftp
tftp     tftp-hpa
aria2c   aria2
setpriv  util-linux
docker-registry docker-registry
openssl  openssl
tshark   tshark
nginx    nginx-light
in.tftpd tftpd-hpa
tinyproxy tinyproxy-bin
faketime faketime
LIST
}

updated=false
update_lists() {
  $updated && return
  say "reading the package lists"
  apt-get -qq update >&2 || say "apt-get update failed; going on with the lists that are here"
  updated=true
}

install_packages() {
  local -a missing
  mapfile -t missing < <(packages_missing)
  ((${#missing[@]} == 0)) && return
  if ! command -v apt-get >/dev/null; then
    die "this is neither Debian nor Ubuntu; the lab needs what these packages hold: ${missing[*]}" 3
  fi
  if ! $may_install || ((EUID != 0)); then
    die "missing packages; as root: apt-get install --no-install-recommends ${missing[*]}" 3
  fi
  update_lists
  say "installing ${missing[*]}"
  apt-get -qq install -y --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "${missing[@]}" >&2
}

install_wishes() {
  local package
  local -a missing
  mapfile -t missing < <(wishes_missing)
  for package in "${missing[@]}"; do
    if ! $may_install || ((EUID != 0)) || ! command -v apt-get >/dev/null; then
      say "$package is not here; trials that need it are skipped"
      continue
    fi
    update_lists
    say "installing $package"
    apt-get -qq install -y --no-install-recommends -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$package" >&2 ||
      say "$package did not come; trials that need it are skipped"
    # The program is wanted, not a registry of this host's.
    if [[ $package == docker-registry && -d /run/systemd/system ]]; then
      systemctl disable --now docker-registry >&2 || say "docker-registry.service could not be stopped"
    fi
  done
}

# === rooms ===

# What the kernel must let us do. The lab asks again; here it decides whether `make test` can run it.
check_rooms() {
  local -a walls=(unshare --net --pid --fork --mount-proc)
  ((EUID == 0)) || walls+=(--user --map-root-user)
  "${walls[@]}" true 2>/dev/null ||
    die "cannot make namespaces; run as root, or allow unprivileged user namespaces" 3
  [[ -r /dev/net/tun && -w /dev/net/tun ]] || die "cannot open /dev/net/tun; run as root" 3
}

# === the cache ===

# `keep NAME COMMAND…` runs COMMAND with a fresh folder as last argument and moves the folder to
# $cache/NAME when it succeeded. The move is atomic: of two runs that race one wins, the other's work goes.
keep() {
  local name=$1 fresh
  shift
  [[ -e $cache/$name ]] && return
  mkdir -p "$cache"
  fresh=$(mktemp -d "$cache/.making-XXXXXX")
  chmod 755 "$fresh"
  if ! "$@" "$fresh"; then
    rm -rf "$fresh"
    return 1
  fi
  mv -T -n "$fresh" "$cache/$name"
  rm -rf "$fresh"
}

# What a run that was killed left behind, when it is old enough not to be somebody's work.
sweep() {
  [[ ! -d $cache ]] || find "$cache" -maxdepth 1 -name '.making-*' -mmin +60 -exec rm -rf {} +
}

# === the kernel ===

candidate() { apt-cache policy "$1" 2>/dev/null | awk '/Candidate:/ && $2 != "(none)" { print $2 }'; }

# The meta package of a small kernel that drives virtio and a serial port, and what it stands for.
kernel_package() {
  local meta
  for meta in linux-image-cloud-amd64 linux-image-virtual linux-image-amd64 linux-image-generic; do
    [[ -n $(candidate "$meta") ]] || continue
    apt-cache depends --no-recommends --no-suggests "$meta" |
      awk '/Depends: linux-image-[0-9]/ && !seen++ { print $2 }'
    return
  done
}

# The functions that `keep` runs say `&&`: `set -e` does not hold where a caller asks for their status.
fetch_kernel() {
  local package=$1 folder=$2
  say "fetching the kernel $package"
  download "$package" "$folder" &&
    install -m 644 "$folder"/unpacked/boot/vmlinuz-* "$folder/vmlinuz" &&
    rm -rf "$folder/unpacked"
}

# Downloads a package without installing it and unpacks it in FOLDER/unpacked.
download() {
  local package=$1 folder=$2
  (cd "$folder" && apt-get -qq download -o APT::Sandbox::User=root "$package" >&2) &&
    dpkg-deb -x "$folder"/*.deb "$folder/unpacked" &&
    rm "$folder"/*.deb
}

newest() { find "$cache" -maxdepth 1 -name "$1" -printf '%T@ %p\n' 2>/dev/null | sort -n | tail -1 | cut -d' ' -f2-; }

kernel() {
  local package version
  package=$(kernel_package)
  if [[ -z $package ]] && ((EUID == 0)); then
    update_lists
    package=$(kernel_package)
  fi
  if [[ -n $package ]]; then
    version=$(candidate "$package")
    keep "kernel-${package}_${version//[^A-Za-z0-9.+~-]/_}" fetch_kernel "$package" ||
      say "$package did not come; using an older kernel if there is one"
  fi
  [[ -n $(newest 'kernel-*') ]] || die "no kernel: the package lists offer none; run apt-get update as root"
  echo "$(newest 'kernel-*')/vmlinuz"
}

# === the initrd ===

# A busybox that needs no libraries: the system's, or one that is downloaded and not installed, because
# the packages of the static and the usual one exclude each other.
busybox() {
  local path
  for path in /usr/bin/busybox /bin/busybox; do
    if [[ -x $path ]] && ! ldd "$path" >/dev/null 2>&1; then
      echo "$path"
      return
    fi
  done
  if [[ -z $(candidate busybox-static) ]] && ((EUID == 0)); then
    update_lists
  fi
  keep busybox fetch_busybox || die "busybox-static did not come"
  echo "$cache/busybox/busybox"
}

fetch_busybox() {
  local folder=$1
  say "fetching busybox-static"
  download busybox-static "$folder" &&
    install -m 755 "$(find "$folder/unpacked" -path '*/bin/busybox' -type f)" "$folder/busybox" &&
    rm -rf "$folder/unpacked"
}

build_initrd() {
  local busybox=$1 folder=$2 root=$2/root
  say "building the initrd"
  mkdir -p "$root"/{bin,dev,proc} &&
    install -m 755 "$busybox" "$root/bin/busybox" &&
    install -m 755 "$here/init" "$root/init" &&
    (cd "$root" && find . | sort | cpio --quiet --reproducible -R 0:0 -o -H newc | gzip -n -6) >"$folder/initrd.img" &&
    rm -rf "$root"
}

initrd() {
  local busybox key
  busybox=$(busybox)
  key=$(cat "$busybox" "$here/init" | sha256sum | cut -c1-12)
  keep "initrd-$key" build_initrd "$busybox"
  echo "$cache/initrd-$key/initrd.img"
}

# === other things to boot ===

# The key of what is made of kernel, initrd and a text of ours.
made_of() { cat "$@" | sha256sum | cut -c1-12; }

# A unified kernel image: systemd's stub with kernel, initrd and command line as sections behind its own.
build_uki() {
  local stub=$1 kernel=$2 initrd=$3 folder=$4 end=0 size start name
  local -a sections=()
  say "building the unified kernel image"
  echo -n "$uki_command_line" >"$folder/cmdline"
  while read -r size start; do
    ((16#$size + 16#$start > end)) && end=$((16#$size + 16#$start))
  done < <(objdump -h "$stub" | awk '$1 ~ /^[0-9]+$/ { print $3, $4 }')
  for name in cmdline:"$folder/cmdline" initrd:"$initrd" linux:"$kernel"; do
    end=$(((end + 0xfff) & ~0xfff))
    sections+=(--add-section ".${name%%:*}=${name#*:}" --change-section-vma ".${name%%:*}=$end")
    end=$((end + $(stat -L -c %s "${name#*:}")))
  done
  objcopy "${sections[@]}" "$stub" "$folder/uki.efi" && rm "$folder/cmdline"
}

uki_command_line="console=ttyS0 hostname=uki"

uki() {
  local stub=/usr/lib/systemd/boot/efi/linuxx64.efi.stub key
  key=$(made_of "$stub" "$1" "$2" <(echo "$uki_command_line"))
  keep "uki-$key" build_uki "$stub" "$1" "$2"
  echo "$cache/uki-$key/uki.efi"
}

# A disc that BIOS and UEFI boot: GRUB, the kernel and the initrd.
build_iso() {
  local kernel=$1 initrd=$2 folder=$3 disc=$3/disc
  say "building the disc"
  mkdir -p "$disc/boot/grub" &&
    install -m 644 "$kernel" "$disc/boot/vmlinuz" &&
    install -m 644 "$initrd" "$disc/boot/initrd.img" &&
    echo "$iso_menu" >"$disc/boot/grub/grub.cfg" &&
    grub-mkrescue -o "$folder/disc.iso" "$disc" >"$folder/log" 2>&1 || { cat "$folder/log" >&2; return 1; }
  rm -rf "$disc" "$folder/log"
}

iso_menu='serial --unit=0 --speed=115200
terminal_output serial
echo "GRUB runs from the disc"
linux /boot/vmlinuz console=ttyS0 hostname=iso
initrd /boot/initrd.img
boot'

iso() {
  local key
  key=$(made_of "$1" "$2" <(echo "$iso_menu"))
  keep "iso-$key" build_iso "$1" "$2"
  echo "$cache/iso-$key/disc.iso"
}

# Debian's installer as a Debian user has it: kernel and initrd out of the package.
fetch_installer() {
  local folder=$1
  say "fetching Debian's installer"
  download debian-installer-12-netboot-amd64 "$folder" &&
    install -m 644 "$(find "$folder/unpacked" -path '*/text/*' -name linux -type f | head -1)" \
      "$(find "$folder/unpacked" -path '*/text/*' -name initrd.gz -type f | head -1)" "$folder" &&
    rm -rf "$folder/unpacked"
}

# The folder, or nothing where this system does not have the package; the scenario is skipped then.
installer() {
  if [[ -e $cache/installer ]] || [[ -n $(candidate debian-installer-12-netboot-amd64) ]]; then
    keep installer fetch_installer && echo "$cache/installer" && return
  fi
  say "debian-installer-12-netboot-amd64 is not here; its scenario is skipped"
}

# === Secure Boot ===

# Debian's shim and GRUB as it signs them, under the names that firmware and shim ask for.
fetch_signed() {
  local folder=$1
  say "fetching Debian's signed shim and GRUB"
  download shim-signed "$folder" &&
    install -m 644 "$folder/unpacked/usr/lib/shim/shimx64.efi.signed" "$folder/shimx64.efi" &&
    rm -rf "$folder/unpacked" &&
    download grub-efi-amd64-signed "$folder" &&
    install -m 644 "$folder/unpacked/usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed" "$folder/grubx64.efi" &&
    rm -rf "$folder/unpacked"
}

# The folder, or nothing where they do not come; the scenario is skipped then.
signed() {
  local version
  version=$(candidate shim-signed)_$(candidate grub-efi-amd64-signed)
  if [[ -e /usr/share/OVMF/OVMF_VARS_4M.ms.fd ]] && keep "signed-${version//[^A-Za-z0-9.+~-]/_}" fetch_signed; then
    newest 'signed-*'
    return
  fi
  say "shim and GRUB did not come; the scenario of Secure Boot is skipped"
}

# === network loaders ===

# Bookworm's iPXE is of 2019; the next release has autoexec.ipxe, HTTPS and other architectures. It is
# fetched with lists of its own beside the system's: nothing of the system's apt changes.
newer_release=trixie

own_apt() {
  local folder=$1 command=$2
  shift 2
  "$command" -qq -o Dir::State="$folder/state" -o Dir::State::status=/dev/null -o Dir::Cache="$folder/cache" \
    -o Dir::Etc::sourcelist="$folder/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=1 \
    -o Acquire::http::Timeout=20 "$@"
}

fetch_loaders() {
  local folder=$1 mirror apt=$1/apt
  # shellcheck disable=SC2016 # apt fills these in
  mirror=$(apt-get indextargets --format '$(ORIGIN)|$(LABEL)|$(REPO_URI)' 'Created-By: Packages' |
    awk -F'|' '$1 == "Debian" && $2 == "Debian" && !seen++ { print $3 }')
  [[ -n $mirror ]] || return 1
  say "fetching iPXE of $newer_release"
  mkdir -p "$apt"/state/lists/partial "$apt"/cache/archives/partial &&
    echo "deb [arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $newer_release main" \
      >"$apt/sources.list" &&
    own_apt "$apt" apt-get update >&2 &&
    (cd "$folder" && own_apt "$apt" apt-get download ipxe >&2) &&
    dpkg-deb -x "$folder"/ipxe_*.deb "$folder/unpacked" &&
    dpkg-deb -f "$folder"/ipxe_*.deb Version >"$folder/version" &&
    mv "$folder/unpacked/usr/lib/ipxe" "$folder/loaders" &&
    rm -rf "$apt" "$folder/unpacked" "$folder"/*.deb
}

loaders() {
  if [[ -r /etc/os-release ]] && grep -qx 'VERSION_CODENAME=bookworm' /etc/os-release; then
    if keep "ipxe-$newer_release" fetch_loaders; then
      echo "$cache/ipxe-$newer_release/loaders"
      return
    fi
    say "iPXE of $newer_release did not come; using the installed one"
  fi
  echo /usr/lib/ipxe
}

# === all of it ===

install_packages
install_wishes
check_rooms
sweep
# One by one: the failure of one ends the script.
kernel=$(kernel)
initrd=$(initrd)
uki=$(uki "$kernel" "$initrd")
iso=$(iso "$kernel" "$initrd")
installer=$(installer)
signed=$(signed)
loaders=$(loaders)
cat <<OUT
kernel=$kernel
initrd=$initrd
uki=$uki
iso=$iso
installer=$installer
signed=$signed
loaders=$loaders
ovmf_code=/usr/share/OVMF/OVMF_CODE_4M.fd
ovmf_vars=/usr/share/OVMF/OVMF_VARS_4M.fd
OUT
