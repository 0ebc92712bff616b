#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
#
# Puts the golden vectors where cargo-fuzz looks for seeds.
set -euo pipefail

if [[ ${1:-} == --help ]]; then
    echo "Usage: fuzz/corpus.sh"
    echo "Writes the golden vectors to fuzz/corpus/frames, one file each."
    exit 0
fi

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$here/corpus/frames"
python3 - "$here" <<'PYTHON'
import json
import pathlib
import sys

here = pathlib.Path(sys.argv[1])
vectors = json.loads((here.parent / "golden/v1.json").read_text())
for kind in ("frames", "refused"):
    for i, vector in enumerate(vectors[kind]):
        (here / "corpus/frames" / f"{kind}-{i:02}").write_bytes(
            bytes.fromhex(vector["bytes"])
        )
PYTHON
echo "seeds are in $here/corpus/frames"
