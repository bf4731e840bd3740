"""`elman compare names --cells rnn,gru,lstm` as it stands, with the machine named.

Writes benchmarks/results/compare_names.json, whose figures stand in docs/compare.md.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import machine

RESULTS = Path(__file__).parent / "results" / "compare_names.json"


def main() -> None:
    """Runs the command and keeps what it found."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "compared"
        command = ["-m", "elman", "compare", "names", "--cells", "rnn,gru,lstm", "--out", str(out)]
        subprocess.run([sys.executable, *command], check=True)
        found = json.loads((out / "compare.json").read_text("utf-8"))
    RESULTS.write_text(json.dumps({"machine": machine(), **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
