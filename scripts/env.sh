# Where development tools and build products live; sourced by every script here, bash only.
# Nothing is written into the clone, and everything under STREAMHOUSE_CACHE can be deleted at any time.
#   STREAMHOUSE_CACHE   tools, jars, virtual environment, build products (default ~/.cache/streamhouse)
#   CARGO_TARGET_DIR    cargo's build products                           (default $STREAMHOUSE_CACHE/target)

STREAMHOUSE_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
: "${STREAMHOUSE_CACHE:=${XDG_CACHE_HOME:-$HOME/.cache}/streamhouse}"
: "${CARGO_TARGET_DIR:=$STREAMHOUSE_CACHE/target}"
export STREAMHOUSE_ROOT STREAMHOUSE_CACHE CARGO_TARGET_DIR
export PATH="$STREAMHOUSE_CACHE/tools/bin:$PATH"
# Incremental state helps only who builds again; a CI machine is used once.
if [ -n "${CI:-}" ]; then export CARGO_INCREMENTAL=0 CARGO_TERM_COLOR=never; fi

# say TEXT...: one progress line, told apart from the tools' own output.
say() { printf '== %s\n' "$*"; }

# have COMMAND: whether it can be run.
have() { command -v "$1" >/dev/null 2>&1; }

# quietly NAME COMMAND...: runs the command; its output appears only if it fails.
quietly() {
  local name=$1 log status=0; shift
  log=$(mktemp "${TMPDIR:-/tmp}/streamhouse-$name.XXXXXX")
  "$@" >"$log" 2>&1 </dev/null || status=$?
  if [ "$status" != 0 ]; then
    printf '%s failed (status %s):\n' "$name" "$status" >&2
    tail -n 60 "$log" >&2
  fi
  rm -f "$log"
  return "$status"
}
