#!/usr/bin/env bash
# Installs what a fresh Debian 12 machine lacks: system packages, Node 24 (from npm, where the machine's own
# is older), npm packages exactly as locked, and our patches on them. Each step is skipped when its stamp,
# named for the content it depends on, is there.
set -euo pipefail
cd "$(dirname "$0")/.."

NODE_VERSION=24.21.0
stamps=.build/stamps
mkdir -p "$stamps" .toolchain

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: error: %s\n' "$1" >&2; shift; for line in "$@"; do printf '       %s\n' "$line" >&2; done; exit 1; }

# -- system packages ----------------------------------------------------------------------------------
lists=tools/debian-packages.txt
# `setup.sh package`: what packages for the other architecture need. `setup.sh test`: what only the tests need, too.
case ${1:-} in
  package) lists="$lists tools/debian-packages-package.txt" ;;
  test) lists="$lists tools/debian-packages-package.txt tools/debian-packages-test.txt" ;;
esac
packages=$(cat $lists | grep -v '^#' | tr '\n' ' ')
missing=
for package in $packages; do
  [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
  [ "$(id -u)" = 0 ] || fail "these Debian packages are missing:$missing" "Run as root, or: sudo apt-get install$missing"
  say "installing Debian packages:$missing"
  log=$stamps/apt.log
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; fail "apt-get could not install:$missing" "The end of its output is above; all of it is in $log."; }
fi

# -- Node 24 ------------------------------------------------------------------------------------------
node_bin=.toolchain/node/bin/node
if ! [ -x "$node_bin" ] || [ "$("$node_bin" --version)" != "v$NODE_VERSION" ]; then
  major=$(node --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/' || true)
  command -v npm >/dev/null || fail "npm is not on the PATH" "Install any Node.js that brings npm (Debian: apt-get install nodejs npm)."
  case $(uname -m) in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; *) fail "no Node build for $(uname -m)" "amd64 and arm64 are supported." ;; esac
  say "fetching Node $NODE_VERSION from npm (the machine has ${major:-no} Node)"
  rm -rf .toolchain/node .toolchain/pack && mkdir -p .toolchain/node .toolchain/pack
  npm pack --silent --pack-destination .toolchain/pack "node-linux-$arch@$NODE_VERSION" >/dev/null 2>"$stamps/node.log" ||
    { cat "$stamps/node.log" >&2; fail "could not download node-linux-$arch@$NODE_VERSION from the npm registry"; }
  tar xzf .toolchain/pack/*.tgz -C .toolchain/node --strip-components=1 && rm -rf .toolchain/pack
  "$node_bin" --version >/dev/null || fail "the downloaded Node does not run on this machine"
fi
export PATH="$PWD/.toolchain/node/bin:$PATH"

# -- npm packages and our patches on them -------------------------------------------------------------
want=$(cat package-lock.json package.json packages/*/package.json patches/* tools/apply-patches.ts 2>/dev/null | sha256sum | cut -c1-16)
if [ "$(cat "$stamps/npm" 2>/dev/null)" != "$want" ] || ! [ -d node_modules ]; then
  say 'installing npm packages as locked'
  npm ci --no-audit --no-fund >"$stamps/npm.log" 2>&1 ||
    { tail -n 30 "$stamps/npm.log" >&2; fail 'npm ci failed' "The end of its output is above; all of it is in $stamps/npm.log."; }
  node tools/apply-patches.ts >&2
  printf '%s\n' "$want" >"$stamps/npm"
fi
