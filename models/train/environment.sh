# shellcheck shell=bash
# The virtual environment of models/train: `prepare_environment FOLDER` sets $python.

prepare_environment() {
  local work=$1 here
  here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
  # One thread everywhere: sums have one order, and other programs keep their cores.
  export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
  python=$work/venv/bin/python
  cmp -s "$here/requirements.txt" "$work/requirements.installed" && return
  mkdir -p "$work"
  rm -rf "$work/venv"
  python3 -m venv "$work/venv" &&
    "$python" -m pip install --quiet --disable-pip-version-check --requirement "$here/requirements.txt" &&
    cp "$here/requirements.txt" "$work/requirements.installed"
}
