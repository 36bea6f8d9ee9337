"""Every benchmark in turn, each in a process of its own, with its defaults (about five minutes on 2 cores).

Ratios are what to read; each script says with --help what they mean.
"""

import subprocess
import sys
from pathlib import Path

from cyclopts import App

app = App(help=__doc__)

SCRIPTS = (
    *("simulator", "floor", "step_latency", "compute", "million"),
    *("device_runtime", "device_store", "device_tables"),
)


@app.default
def main() -> None:
    """Run them."""
    for name in SCRIPTS:
        print(f"\n== {name}", flush=True)
        subprocess.run([sys.executable, Path(__file__).with_name(f"{name}.py")], check=True)


if __name__ == "__main__":
    app()
