#!/bin/sh
# Installs Sallyport on this host, in the version of the cluster that served this script:
#
#   curl -fsS "https://proxy.example.com/scripts/install.sh" | sudo bash
#   curl … | sudo bash -s -- [VERSION [EDITION]] [--dry-run] [--format=deb|tar] [--mirror=URL]
#
# Nothing is changed on the host before the package has the checksum that the release lists, and the list the
# signature of the release. Every function is defined before the last line calls one: half a script does nothing.

CLUSTER=@CLUSTER@
CLUSTER_VERSION=@VERSION@
PROXY=@PROXY@
SOURCE=@SOURCE@
CA_PINS=@CA_PINS@
# Of the releases this cluster believes.
PUBLIC_KEY=@PUBLIC_KEY@
SSH_PUBLIC_KEY=@SSH_PUBLIC_KEY@
# Of the proxy, where it shows no certificate of a public authority.
CA_CERTIFICATES=@CA_CERTIFICATES@

say() { printf '%s\n' "$*" >&2; }
fail() {
  printf 'install.sh: error: %s\n' "$1" >&2
  shift
  for line in "$@"; do printf '  %s\n' "$line" >&2; done
  exit 1
}
have() { command -v "$1" >/dev/null 2>&1; }

usage() {
  say "usage: install.sh [VERSION [EDITION]] [--dry-run] [--format=deb|tar] [--mirror=URL]"
  say "  VERSION        what to install; default: $CLUSTER_VERSION, as the cluster $CLUSTER"
  say "  EDITION        oss, the only one there is"
  say "  --dry-run      check everything, change nothing; needs no root"
  say "  --format       deb or tar; default: deb where dpkg is"
  say "  --mirror       where the packages are; default: $SOURCE"
}

read_arguments() {
  version=$CLUSTER_VERSION edition=oss dry_run='' format='' source=$SOURCE positional=0
  for argument in "$@"; do
    case $argument in
      --dry-run) dry_run=yes ;;
      --format=deb | --format=tar) format=${argument#--format=} ;;
      --mirror=http://?* | --mirror=https://?*) source=${argument#--mirror=} source=${source%/} ;;
      -h | --help) usage; exit 0 ;;
      -*) usage; fail "$argument is not understood" ;;
      *)
        positional=$((positional + 1))
        case $positional in
          1) version=${argument#v} ;;
          2) edition=$argument ;;
          *) usage; fail "\"$argument\" is one argument too many" ;;
        esac
        ;;
    esac
  done
  printf '%s\n' "$version" | grep -Eqx '[0-9]+\.[0-9]+\.[0-9]+([-.~+][A-Za-z0-9.~+-]*)?' || fail "\"$version\" is not a version"
  [ "$edition" = oss ] || fail "there is no edition \"$edition\"" 'The only edition is oss.'
}

check_host() {
  [ "$(uname -s)" = Linux ] || fail "this host runs $(uname -s); packages are for Linux"
  machine=$(uname -m)
  case $machine in
    x86_64 | amd64) arch=amd64 ;;
    aarch64 | arm64) arch=arm64 ;;
    *) fail "there is no package for this processor ($machine)" 'Packages are for amd64 and arm64.' ;;
  esac
  if [ -z "$format" ]; then
    # Some other systems have dpkg as a tool, and nothing installed by it.
    if have dpkg && [ -s /var/lib/dpkg/status ]; then format=deb; else format=tar; fi
  fi
  if [ "$format" = deb ]; then
    have dpkg || fail 'dpkg is not on this host' 'Use --format=tar.'
    system=$(dpkg --print-architecture)
    # A 32-bit system on a 64-bit kernel.
    [ "$system" = "$arch" ] || fail "this system's packages are of architecture $system, the processor is $arch" 'Packages are for amd64 and arm64 systems.'
  fi
  glibc=$(getconf GNU_LIBC_VERSION 2>/dev/null | awk '{ print $2 }')
  [ -n "$glibc" ] || fail 'this host has no GNU C library' 'Packages need glibc 2.34 or newer; Alpine and other musl systems are not supported.'
  printf '%s\n' 2.34 "$glibc" | sort -V -C || fail "this host has glibc $glibc; 2.34 or newer is needed" 'Debian 12, Ubuntu 22.04, RHEL 9 and newer have it.'
  have curl || have wget || fail 'neither curl nor wget is on this host'
  for program in sha256sum awk mktemp df; do
    have $program || fail "$program is not on this host"
  done
  if [ "$format" = tar ]; then
    have tar && have gzip || fail 'tar and gzip are needed'
  fi
  [ -n "$dry_run" ] || [ "$(id -u)" = 0 ] || fail 'installing needs root' 'Run it as: curl … | sudo bash'
}

installed_version() {
  if [ "$format" = deb ]; then
    dpkg-query -W -f '${db:Status-Status} ${Version}' sallyport 2>/dev/null | sed -n 's/^installed //p'
  elif [ -x /usr/local/bin/teleport ]; then
    /usr/local/bin/teleport version 2>/dev/null | sed -n 's/^Sallyport teleport v\([^ ]*\).*/\1/p'
  fi
}

# fetch NAME: from the source into $work, or a reason in $why.
fetch() {
  url=$source/$version/$1
  authorities=''
  [ "$source" != "$SOURCE" ] || [ -z "$CA_CERTIFICATES" ] || authorities=$work/authorities.pem
  if have curl; then
    why=$(curl -fsSL --proto '=https,http' --connect-timeout 15 --speed-limit 1024 --speed-time 60 --retry 3 --retry-delay 1 ${authorities:+--cacert "$authorities"} -o "$work/$1" "$url" 2>&1)
  else
    why=$(wget -q --timeout=30 --tries=3 ${authorities:+--ca-certificate="$authorities"} -O "$work/$1" "$url" 2>&1)
  fi
}

must_fetch() {
  fetch "$1" || fail "$url cannot be fetched: ${why:-no reason was given}" \
    "Nothing was installed. Does the cluster (or the mirror) have packages of version $version? Is there room in $work?"
}

# Of SHA256SUMS. OpenSSL before 3.0 cannot; ssh-keygen of OpenSSH 8.1 and newer can.
check_signature() {
  if have openssl && openssl version | grep -Eq '^OpenSSL ([3-9]|[1-9][0-9])'; then
    must_fetch SHA256SUMS.sig
    printf '%s\n' "$PUBLIC_KEY" >"$work/release.pub"
    openssl pkeyutl -verify -pubin -inkey "$work/release.pub" -rawin -in "$work/SHA256SUMS" -sigfile "$work/SHA256SUMS.sig" >/dev/null 2>&1 || bad_signature
  elif have ssh-keygen; then
    must_fetch SHA256SUMS.sshsig
    printf 'release %s\n' "$SSH_PUBLIC_KEY" >"$work/signers"
    ssh-keygen -Y verify -f "$work/signers" -I release -n sallyport-release -s "$work/SHA256SUMS.sshsig" <"$work/SHA256SUMS" >/dev/null 2>&1 || bad_signature
  else
    fail 'nothing on this host can check the signature of the release' 'Install openssl (3.0 or newer) or openssh-client (8.1 or newer). Nothing was installed.'
  fi
}

bad_signature() {
  fail "the list of packages at $source/$version does not bear the signature of the release key this cluster believes" \
    'Somebody changed it, or it was built with another key (proxy_service.packages.key_file). Nothing was installed.'
}

check_sum() {
  found=$(sha256sum "$work/$package" | awk '{ print $1 }')
  [ "$found" = "$sum" ] || fail "$package does not have the checksum that the release lists" \
    "listed $sum" "found  $found" 'It is damaged, or somebody changed it. Nothing was installed.'
}

# has_room FOLDER KIB: in the file system of the folder, or of the nearest one above it that is there.
has_room() {
  place=$1
  while ! [ -d "$place" ]; do place=$(dirname "$place"); done
  free=$(df -Pk "$place" | awk 'NR == 2 { print $4 }')
  [ "$free" -ge "$2" ] || fail "there is no room in $place: $((free / 1024)) MiB are free and $(($2 / 1024)) MiB are needed" 'Nothing was installed.'
}

install_deb() {
  size=$(dpkg-deb -f "$work/$package" Installed-Size) || fail "$package is no Debian package"
  # The old version goes when the new one is there.
  has_room /usr/lib/sallyport $((size + size / 20))
  export DEBIAN_FRONTEND=noninteractive
  if have apt-get; then
    set -- -y -qq --no-install-recommends --allow-downgrades -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 install "$work/$package"
    # Which other packages it takes is asked before anything is changed.
    if ! apt-get -s "$@" >"$work/log" 2>&1; then
      apt-get -qq update >>"$work/log" 2>&1
      apt-get -s "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail 'apt cannot install it; see above' 'Nothing was installed.'; }
    fi
    apt-get "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail 'apt could not install it; see above'; }
  else
    dpkg --force-confold -i "$work/$package" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail 'dpkg could not install it; see above'; }
  fi
  grep '^sallyport:' "$work/log" | sed 's/^/  /' >&2 || :
}

install_tar() {
  size=$(($(gzip -l "$work/$package" | awk 'NR == 2 { print $2 }') / 1024))
  has_room "$work" "$size"
  has_room /usr/local/lib "$size"
  tar -xzf "$work/$package" -C "$work" || fail "$package cannot be unpacked" 'Nothing was installed.'
  "$work/teleport/install" >"$work/log" 2>&1 || { cat "$work/log" >&2; fail 'it could not be installed; see above'; }
}

next_steps() {
  bin=/usr/bin
  [ "$format" = deb ] || bin=/usr/local/bin
  say "Installed: $($bin/teleport version)"
  [ ! -e /etc/teleport.yaml ] || return 0
  say ''
  say 'To make this host a node of the cluster, with a token of `tctl nodes add`:'
  say "  teleport node configure --proxy=$PROXY --token=TOKEN --ca-pin=$CA_PINS --output=file"
  [ "$format" = deb ] || say '  teleport install systemd -o /etc/systemd/system/teleport.service'
  say '  systemctl enable --now teleport'
}

main() {
  set -u
  umask 022
  read_arguments "$@"
  check_host
  if [ "$format" = deb ]; then package=sallyport_${version}_$arch.deb; else package=teleport-v$version-linux-$arch-bin.tar.gz; fi
  # Not /tmp: it is often small, and in memory.
  work=$(mktemp -d "${TMPDIR:-/var/tmp}/sallyport-install.XXXXXX") || fail 'no temporary folder can be made'
  trap 'rm -rf "$work"' EXIT
  trap 'exit 1' HUP INT TERM
  # apt reads the package as a user without rights.
  chmod 0755 "$work"
  [ -z "$CA_CERTIFICATES" ] || printf '%s\n' "$CA_CERTIFICATES" >"$work/authorities.pem"
  now=$(installed_version)
  if [ "$now" = "$version" ]; then
    say "Sallyport $version is installed already."
    exit 0
  fi
  say "Sallyport $version ($package) from $source${now:+; installed is $now}"
  must_fetch SHA256SUMS
  check_signature
  sum=$(awk -v name="$package" '$2 == name { print $1 }' "$work/SHA256SUMS")
  [ -n "$sum" ] || fail "the release has no $package" 'Nothing was installed.'
  must_fetch "$package"
  check_sum
  if [ -n "$dry_run" ]; then
    say "Checksum and signature are right. Without --dry-run it would be installed now, with $([ "$format" = deb ] && echo dpkg || echo ./install)."
    exit 0
  fi
  "install_$format"
  next_steps
}

main "$@"
