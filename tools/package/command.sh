#!/bin/sh
# Runs the Sallyport command of this file's own name.
set -eu
#FIND-ROOT
name=${0##*/}
# As this was called: a daemon that makes way for a new one starts it by this name.
[ "$name" != teleport ] || export SALLYPORT_PROGRAM="$0"
# Compiled code is kept, which halves the start of every command: root's where only root may write, a person's in
# their own home. Never in /tmp, and never in a home that is somebody else's: whoever can write there decides what
# runs here. Where there is neither Node does without.
if [ -w /var/cache/sallyport/node ]; then
  export NODE_COMPILE_CACHE=/var/cache/sallyport/node
elif [ -n "${HOME:-}" ] && [ -O "$HOME" ]; then
  export NODE_COMPILE_CACHE="${XDG_CACHE_HOME:-$HOME/.cache}/sallyport/node"
fi
# A command that runs for a moment is over before 16 MiB are full: its garbage is never collected (a tenth of its time).
memory=
case $name in tsh | tctl) memory=--min-semi-space-size=16 ;; esac
exec "$node" $memory "$root/node_modules/@sallyport/teleport/src/cli/$name/main.js" "$@"
