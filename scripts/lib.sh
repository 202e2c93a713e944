# Sourced by the scripts beside it, from the repository's root.

# The command of a Python that the package supports; one that is named but doesn't start (a shim) is passed over.
find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python; do
        if [[ -n $candidate ]] && is_supported "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    echo "No Python from 3.11 to 3.13 was found. Install one, or name it: PYTHON=/path/to/python $0" >&2
    return 1
}

is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' >/dev/null 2>&1
}

# make_venv PYTHON FOLDER
make_venv() {
    if ! "$1" -m venv "$2"; then
        rm -rf "$2"
        echo "$1 cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv" >&2
        return 1
    fi
}

# step NAME COMMAND... : runs the command and says how long it took; a failure ends the script, which says where.
# (Nothing here may run the command in a condition: bash would go on after a failure inside it.)
step() {
    local start=$SECONDS
    current=$1
    shift
    printf '\n== %s\n' "$current"
    "$@"
    printf '== %s: %d s\n' "$current" $((SECONDS - start))
    current=
}

current=
say_where_it_failed() {
    local status=$?
    if ((status)) && [[ -n $current ]]; then
        printf '== %s: FAILED after %d s in all\n' "$current" "$SECONDS" >&2
    fi
}
trap say_where_it_failed EXIT

# What a laptop and a build machine check alike, with the tools of one environment: run_checks FOLDER [PYTEST OPTIONS]
run_checks() {
    local bin=$1
    shift
    step "ruff check" "$bin/ruff" check .
    step "ruff format" "$bin/ruff" format --check .
    step "mypy" "$bin/mypy" --strict
    step "pytest" run_tests "$bin/pytest" "$@"
}

# One after the other the tests would take two cores most of half an hour, and many of them wait: so two processes share
# the files. Each has a place of its own for temporary files (tests/conftest.py).
run_tests() {
    local pytest=$1 place status=0
    shift
    if (($#)); then
        "$pytest" "$@"
        return
    fi
    place=$(mktemp -d)
    TMPDIR=$place "$pytest" --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 40 || status=$?
    rm -rf "$place"
    return $status
}
