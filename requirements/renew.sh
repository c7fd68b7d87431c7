#!/usr/bin/env bash
# Pin every package that Offpath needs, with hashes and without any address.
# torchattacks pins old versions of its HTTP packages, which it only needs for its own demos.
set -euo pipefail
cd "$(dirname "$0")"
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools/venv"
"$tools/venv/bin/pip" install --quiet uv
printf 'requests>=2.32\nurllib3>=2\nchardet>=5\nidna>=3\n' >"$tools/overrides.txt"
printf 'hatchling>=1.27\neditables>=0.5\n' >"$tools/build.txt"
printf 'cyclonedx-bom>=7.5\nhatchling>=1.27\nuv>=0.13\n' >"$tools/image.txt"

compile() {
    "$tools/venv/bin/uv" pip compile --quiet --upgrade --generate-hashes --no-emit-index-url \
        --no-header --no-annotate --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
        --override "$tools/overrides.txt" "$@"
}

# What ships is what the tests ran on: the server's pins follow those of the whole.
compile ../pyproject.toml "$tools/build.txt" --extra serve --extra lab --extra trace --extra ray --extra dev \
    --output-file dev.txt >/dev/null
compile ../pyproject.toml --extra serve --extra trace --constraint dev.txt --output-file serve.txt >/dev/null
compile "$tools/image.txt" --constraint dev.txt --output-file image.txt >/dev/null
