#!/usr/bin/env bash
# carbontracker 2.4.7: what its parser adds up for trainings that ended is what was predicted for them, not what they took.
#
# The log says "Actual consumption for 3 epoch(s)". The parser's pattern for that line keeps no number, so that every
# finished training has one epoch; `aggregate_consumption`, and with it the sentence that `print_aggregate` offers for a
# paper, takes the actual consumption only where its epochs are those of the prediction, and else the prediction, which
# is the first epoch times their number. Where the first epoch is not like the others, the total is wrong, in silence.
# Exits 0 where this is still so, 1 where it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check carbontracker==2.4.7
"$folder/env/bin/python" - "$folder/logs" <<'PYTHON'
import sys
import time
from importlib.metadata import version
from pathlib import Path

from carbontracker import parser
from carbontracker.tracker import CarbonTracker

logs = Path(sys.argv[1])
logs.mkdir()
processor = {"sim_cpu": "a processor", "sim_cpu_tdp": 65, "sim_cpu_util": 0.5}
tracker = CarbonTracker(
    epochs=3, epochs_before_pred=1, monitor_epochs=-1, update_interval=0.5, log_dir=str(logs), components="cpu",
    verbose=0, **processor,
)
for seconds in (4, 1, 1):  # the first epoch is slow, as where it fills a cache
    tracker.epoch_start()
    time.sleep(seconds)
    tracker.epoch_end()
tracker.stop()

(log,) = logs.glob("*_output.log")
actual, predicted = parser.get_consumption(log.read_text())
total, _, _ = parser.aggregate_consumption(str(logs))
print(f"carbontracker {version('carbontracker')}, three epochs of 4, 1 and 1 s on 32.5 W:")
print(f"  the log's actual consumption {1e6 * actual['energy (kWh)']:.1f} mWh, of {actual['epochs']} epoch by the parser")
print(f"  predicted after the first epoch {1e6 * predicted['energy (kWh)']:.1f} mWh")
print(f"  aggregate_consumption {1e6 * total:.1f} mWh")
still = actual["epochs"] == 1 and total == predicted["energy (kWh)"] and total > 1.5 * actual["energy (kWh)"]
print("still so" if still else "changed")
sys.exit(not still)
PYTHON
