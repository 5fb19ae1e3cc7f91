# What `guest`, `guest-rpm` and `guest-bridges` check with. The report goes to standard output, what the commands say to standard error.
# shellcheck shell=bash
exec 3>&1 1>&2
PATIENCE=20
check() { # check NAME COMMAND...: the command must succeed
    local name=$1
    shift
    echo "== $name: $*"
    if "$@"; then echo "ok $name" >&3; else echo "FAILED $name" >&3; fi
}
refused() { # refused WORDS COMMAND...: the command must fail and say so
    local words=$1 said
    shift
    if said=$("$@" 2>&1); then echo "not refused"; return 1; fi
    echo "$said"
    grep -q -- "$words" <<<"$said"
}
until_true() { # until_true COMMAND...: within $PATIENCE seconds
    local end=$((SECONDS + PATIENCE))
    until "$@"; do [ "$SECONDS" -lt "$end" ] || return 1; sleep 0.2; done
}
