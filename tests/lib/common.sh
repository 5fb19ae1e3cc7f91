# Shell helpers of the test scripts. Source it; it needs bash, `set -euo pipefail` and nothing else.
# shellcheck shell=bash

# The repository's root, and where downloads and built tools are kept (ignored by git).
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${PORTRAITD_CACHE:-$ROOT/.cache}

# Exit status that means: not run, and the last line said why.
SKIP=77

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $*"; exit 1; }

# Ends a script as skipped. Loud on purpose: what was not tested must be seen.
skip() { say "SKIPPED: $*"; exit "$SKIP"; }

have() { command -v "$1" >/dev/null 2>&1; }

is_root() { [ "$(id -u)" -eq 0 ]; }

# need_packages COMMAND=PACKAGE...: makes commands available, by apt where we are root on a Debian; else skips and says what is missing.
# A left side with a slash is a file to look for.
need_packages() {
    local missing=() pair what
    for pair in "$@"; do
        what=${pair%%=*}
        case $what in
            /*) [ -e "$what" ] || missing+=("${pair#*=}") ;;
            *) have "$what" || missing+=("${pair#*=}") ;;
        esac
    done
    [ ${#missing[@]} -eq 0 ] && return
    if ! is_root || ! have apt-get; then
        skip "needs the Debian packages ${missing[*]} (or what they are called here)"
    fi
    say "installing ${missing[*]}"
    local log
    log=$(mktemp)
    if ! { apt_install "${missing[@]}" || { apt-get update && apt_install "${missing[@]}"; }; } >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        rm -f "$log"
        skip "needs the packages ${missing[*]}, and apt-get could not install them"
    fi
    rm -f "$log"
}

# need_python MODULE...: makes Python 3 available with these modules of its standard library. Debian's python3-minimal lacks many
# of them, so the command alone proves nothing.
need_python() {
    need_packages python3=python3
    python3 -c "import $(IFS=,; echo "$*")" 2>/dev/null && return
    need_packages "/nonexistent=python3"
    python3 -c "import $(IFS=,; echo "$*")" || skip "needs Python's modules $*"
}

# need_programs PROGRAM...: builds the programs of the workspace in target/release, unless these are there. The whole workspace is
# built, since a package alone has other features of its dependencies, which would be compiled again.
need_programs() {
    local program
    for program in "$@"; do
        [ -x "$ROOT/target/release/$program" ] || (cd "$ROOT" && cargo build --release --locked --workspace --bins)
    done
}

# tool_version PROGRAM: of a cargo subcommand. Some answer only as cargo calls them, or with another name before the version.
tool_version() {
    { "$1" --version || "$1" "${1##*/cargo-}" --version; } 2>/dev/null | awk '{ print $NF }'
}

# cargo_tool CRATE VERSION: builds a cargo subcommand once into .cache/tools, unless this very version is installed, and sets
# TOOL to its program. Without optimization: compiling it takes minutes otherwise, and running it takes seconds either way.
cargo_tool() {
    TOOL=$CACHE/tools/bin/$1
    [ "$(tool_version "$TOOL")" != "$2" ] || return 0
    if [ "$(tool_version "$1")" = "$2" ]; then
        TOOL=$(command -v "$1")
        return
    fi
    say "building $1 $2, once"
    CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_INCREMENTAL=false cargo install "$1" --version "$2" --locked --quiet --debug --force \
        --root "$CACHE/tools" --target-dir "$CACHE/tools/build" || skip "cargo could not install $1 $2: is there a network?"
    rm -rf "$CACHE/tools/build"
}

apt_install() { DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"; }

# The Debian mirror that this machine uses, as configured for apt.
debian_mirror() {
    local files=(/etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources) uri
    uri=$(cat "${files[@]}" 2>/dev/null |
        sed -n -E -e 's/^URIs:[[:space:]]*([^[:space:]]+).*/\1/p' -e 's/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+).*/\2/p' |
        grep -E '/debian/?$' | head -n 1)
    [ -n "$uri" ] && printf '%s\n' "${uri%/}"
}

# fetch_deb SUITE PACKAGE FOLDER: downloads a package of another Debian suite through this machine's apt (mirror, proxies,
# keys) into FOLDER and unpacks it to FOLDER/root. Nothing is installed, and apt's own state is not touched.
fetch_deb() {
    local suite=$1 package=$2 folder=$3 mirror state keys option=()
    have apt-get || { say "no apt-get here"; return 1; }
    mirror=$(debian_mirror) || { say "no Debian mirror among apt's sources"; return 1; }
    keys=/usr/share/keyrings/debian-archive-keyring.gpg
    [ -e "$keys" ] || { say "no $keys: install debian-archive-keyring"; return 1; }
    state=$CACHE/apt/$suite
    mkdir -p "$state"/{lists/partial,archives/partial,etc} "$folder"
    echo "deb [signed-by=$keys] $mirror $suite main" >"$state/etc/sources.list"
    option=(-o Dir::State::Lists="$state/lists" -o Dir::Cache="$state" -o Dir::Cache::Archives="$state/archives"
        -o Dir::Etc::SourceList="$state/etc/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::State::Status=/dev/null -o APT::Sandbox::User=root -o Acquire::Languages=none
        -o DPkg::Post-Invoke=:: -o APT::Update::Post-Invoke=:: -o APT::Update::Post-Invoke-Success=::)
    # The index is a day old at most; a package's file does not change.
    if [ -z "$(find "$state/lists" -name '*InRelease' -mtime -1 2>/dev/null)" ]; then
        say "reading the index of $suite"
        apt-get "${option[@]}" update >"$state/log" 2>&1 || { tail -n 5 "$state/log" >&2; return 1; }
    fi
    rm -f "$folder"/*.deb
    (cd "$folder" && apt-get "${option[@]}" download "$package") >"$state/log" 2>&1 || { tail -n 5 "$state/log" >&2; return 1; }
    rm -rf "$folder/root"
    dpkg-deb -x "$folder/${package%%[:=]*}"_*.deb "$folder/root"
    rm -f "$folder"/*.deb
}
