#!/bin/sh
# Make or renew the virtual environment and touch a stamp in it.
#
#   sh tools/bootstrap.sh VENV STAMP LOCK [LOCK_WITHOUT_DEPENDENCIES ...]
#
# Runs from the root of the checkout. Wants a Python >= 3.11; writes nothing outside VENV and the temporary folder.
# uv does the installing because it is ten times faster, pip where uv does not work (behind a mirror set in pip.conf, say).
set -eu
umask 022 # an environment made by root is there for others to run

venv=$1 stamp=$2 lock=$3
shift 3

unset PYTHONHOME PYTHONPATH PIP_TARGET PIP_PREFIX PIP_CONSTRAINT UV_CONSTRAINT # each could bend what is installed, or where
export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
export UV_PYTHON_DOWNLOADS=never UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}" # trust what this machine trusts, as pip does
if [ -n "${PIP_INDEX_URL:-}" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
    export UV_DEFAULT_INDEX="$PIP_INDEX_URL" # uv does not read pip's settings
fi

say() { printf 'bootstrap: %s\n' "$*" >&2; }
quietly() { "$@" </dev/null >/dev/null 2>&1; }

# A name on PATH proves nothing: version managers put shims there for versions that are not installed. So run it.
new_enough() { quietly "$1" -c 'import ssl, sys, venv; sys.exit(sys.version_info < (3, 11))'; }

pick_python() {
    if [ -n "${PYTHON:-}" ] && ! new_enough "$PYTHON"; then
        say "PYTHON=$PYTHON is no working Python >= 3.11; looking for another"
    fi
    for candidate in "${PYTHON:-python3}" python3 python3.14 python3.13 python3.12 python3.11 \
        /usr/bin/python3 /usr/local/bin/python3 python; do
        if new_enough "$candidate"; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    say "no working Python >= 3.11 found (python3 is: $(python3 --version 2>&1 | head -n 1))."
    say "Install one, or name it: PYTHON=/path/to/python3 make ..."
    return 1
}

usable() { new_enough "$venv/bin/python" && quietly "$venv/bin/python" -c 'import sys; sys.exit(sys.prefix == sys.base_prefix)'; }

# Without pip: ensurepip takes longer than everything else together, and Debian packs it separately.
make_venv() {
    python=$(pick_python)
    clear=
    if [ -e "$venv/pyvenv.cfg" ]; then
        clear=--clear # a broken environment; a folder that is none is never emptied
    fi
    say "making $venv with $("$python" --version)"
    "$python" -m venv --without-pip $clear "$venv"
}

# The environment's own pip, else any pip that can work on it from outside, else ensurepip, else a uv on PATH.
with_pip() {
    if quietly "$venv/bin/python" -m pip --version; then
        "$venv/bin/python" -m pip install -qq --no-cache-dir $again "$@"
        return
    fi
    for outer in "${PYTHON:-python3}" python3 /usr/bin/python3; do
        if quietly "$outer" -m pip --python "$venv/bin/python" --version; then
            "$outer" -m pip --python "$venv/bin/python" install -qq --no-cache-dir $again "$@"
            return
        fi
    done
    if quietly "$venv/bin/python" -m ensurepip; then
        "$venv/bin/python" -m pip install -qq --no-cache-dir $again "$@"
    elif quietly uv --version; then
        uv pip install -q --no-cache --python "$venv/bin/python" $again "$@"
    else
        say "found neither pip, ensurepip nor uv. Install your system's pip package (Debian: python3-pip) and try again."
        return 1
    fi
}

has_uv() { quietly "$venv/bin/python" -m uv --version; }

install() {
    if has_uv; then
        "$venv/bin/python" -m uv pip install -q --no-cache --python "$venv/bin/python" $again "$@" && return
        say "uv failed; trying pip"
    fi
    with_pip "$@"
}

# One set-up at a time: the kernel drops this lock when its holder dies. Where there is no flock we do without.
if quietly flock --version; then
    exec 9<"$0"
    flock 9 || :
fi

usable || make_venv

# A set-up killed half-way can leave a package that looks installed and is not: then every file is written again.
unfinished=$venv/.unfinished
again=
if [ -e "$unfinished" ]; then
    say "the last set-up did not finish; installing everything again"
    again=--force-reinstall
fi
touch "$unfinished"

has_uv || with_pip uv || say "no uv to be had; using pip"
install -r "$lock"
for bare in "$@"; do
    install --no-deps -r "$bare"
done
install --no-deps -e .

rm -f "$unfinished"
touch "$venv/$stamp"
