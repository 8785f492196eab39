self=$0
# npm links its commands. POSIX sh has no realpath; readlink is everywhere.
while [ -L "$self" ]; do
  target=$(readlink "$self")
  case $target in /*) self=$target ;; *) self=$(dirname "$self")/$target ;; esac
done
case $self in */*) ;; *) self=./$self ;; esac
root=$(CDPATH='' cd -- "${self%/*}/../../../.." && pwd)
node=$(command -v node || true)
version=$([ -z "$node" ] || "$node" --version 2>/dev/null | sed 's/^v\([0-9]*\).*/\1/')
if [ "${version:-0}" -lt 24 ] 2>/dev/null; then
  echo "ERROR: ${0##*/} needs Node.js 24 or newer; found ${node:-no node on the PATH}${version:+ (version $version)}." >&2
  exit 8
fi
