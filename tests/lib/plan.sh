# What the stages need, from tests/lib/plan.txt. Source it after common.sh.
# shellcheck shell=bash

# plan_field STAGE NUMBER: a column of the stage's row, without blanks round it; `as OTHER` in a list of packages stands for
# the packages of OTHER.
plan_field() {
    local value
    value=$(awk -F '|' -v stage="$1" -v column="$2" '
        /^#/ { next }
        { gsub(/^ +| +$/, "", $1); gsub(/^ +| +$/, "", $column) }
        $1 == stage { print $column }' "$ROOT/tests/lib/plan.txt")
    [ "$value" != - ] || value=''
    if [ "$2" = 2 ]; then
        case $value in "as "*)
            local other=${value#as }
            value="$(plan_field "${other%%[, ]*}" 2) ${other#"${other%%[, ]*}"}"
            value=${value//,/ }
        esac
    fi
    printf '%s\n' "$value"
}

# missing_packages STAGE: the Debian packages that it needs and that are not installed.
missing_packages() {
    local package
    for package in $(plan_field "$1" 2); do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf '%s ' "$package"
    done
}

print_plan() {
    local name format='%-16s %7s %8s %8s  %s\n' needs missing all=''
    # shellcheck disable=SC2059 # the format of every line
    printf "$format" stage disk first later "Debian packages; other downloads"
    for name in "$@"; do
        needs=$(plan_field "$name" 2 | tr -s ' ' | sed 's/ $//')
        missing=$(plan_field "$name" 3)
        [ -z "$missing" ] || needs="${needs:+$needs; }$missing"
        # shellcheck disable=SC2059
        printf "$format" "$name" "$(plan_field "$name" 4)" "$(plan_field "$name" 5)" "$(plan_field "$name" 6)" "${needs:-nothing}"
        ! have dpkg-query || all+=$(missing_packages "$name")
    done
    echo
    echo "Times are rough, from two busy cores; what is built or downloaded is kept in target/ and .cache/ (ignored by git)."
    if have dpkg-query; then
        # shellcheck disable=SC2086
        echo "Debian packages that are missing here: $(printf '%s\n' $all | sort -u | paste -s -d ' ' | grep . || echo none)"
    fi
}

# announce STAGE...: says before the first stage what will be installed, or what will be skipped for want of it.
announce() {
    local name missing all=''
    have dpkg-query || return 0
    for name in "$@"; do
        missing=$(missing_packages "$name")
        [ -n "$missing" ] || continue
        all+=$missing
        if ! is_root || ! have apt-get; then
            echo "note: $name may be skipped: not root, and without the packages $missing"
        fi
    done
    if [ -n "$all" ] && is_root && have apt-get; then
        # shellcheck disable=SC2086
        echo "note: Debian packages that this run installs where a stage needs them: $(printf '%s\n' $all | sort -u | paste -s -d ' ')"
    fi
}
