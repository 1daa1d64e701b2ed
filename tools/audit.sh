#!/bin/sh
# audit.sh PYTHON REQUIREMENTS: asks the advisory service about every pin. Exit 0: asked, nothing known; 1: something is
# known; 3: could not ask (then tests/security/test_supply.py is what holds).
set -eu
output=$("$1" -m uv tool run pip-audit --strict --disable-pip --no-deps --requirement "$2" --progress-spinner off 2>&1) && {
    printf '%s\n' "$output"
    exit 0
}
case $output in
*"known vulnerabilit"*) printf '%s\n' "$output" >&2; exit 1 ;;
esac
printf '%s\n' "$output" | tail -n 3 >&2
echo "audit: the advisory service could not be asked; nothing was checked" >&2
exit 3
