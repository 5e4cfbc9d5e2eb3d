#!/bin/sh
# usage: ci/try_dist.sh FILE: installs a wheel or a source distribution into an empty environment, with
# the versions of constraints.txt, and tries it as a user would: verbs, Python, and type checkers.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
file=$(realpath "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
"${PYTHON:-python3}" -m venv venv
pip="venv/bin/python -P -m pip install --quiet --disable-pip-version-check -c $root/constraints.txt"
# As in the Makefile: the CPU build alone and first, where there is no GPU.
command -v nvidia-smi >/dev/null ||
  $pip --no-deps --index-url https://download.pytorch.org/whl/cpu torch ||
  echo "the CPU build of PyTorch cannot be had; another one is installed"
$pip "$file" mypy 'pyright[nodejs]'
unset PYTHONPATH
venv/bin/radialbench --version
venv/bin/radialbench mask show radial --grid 5x6x8 >/dev/null
venv/bin/radialbench suite plan smoke >/dev/null
venv/bin/radialbench doctor >/dev/null
cp "$root/tests/user_code.py" .
venv/bin/python -P user_code.py
venv/bin/mypy --strict user_code.py
PATH="$work/venv/bin:$PATH" venv/bin/pyright user_code.py
echo "$(basename "$file") installs and works"
