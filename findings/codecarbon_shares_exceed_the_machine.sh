#!/usr/bin/env bash
# codecarbon 3.3.2: the energy of a process by its load model is not a share of the machine's.
#
# Without a counter, a machine is charged TDP x (0.1 + 0.9 load^3), and a process TDP x its load. The only busy
# process of a machine at half load is charged 2.4 times what the machine is, and at no load the machine is charged
# a tenth that no process bears. Shares of a bill that are taken from both modes do not add up, and a machine half
# used looks cheaper than what ran on it.
# Exits 0 where this is still so, 1 where it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --disable-pip-version-check codecarbon==3.3.2
"$folder/env/bin/python" - "$folder" <<'PYTHON'
import sys
import time
from importlib.metadata import version

from codecarbon.external.hardware import CPU

TDP_W, LOAD = 100, 0.5


def cpu(mode):
    return CPU(sys.argv[1], "cpu_load", "a processor", TDP_W, tracking_mode=mode)


machine = cpu("machine")
machine._cpu_load_meter.percent = lambda *_: 100 * LOAD
machine_w = machine._get_power_from_cpus().W

process = cpu("process")
began = time.time()
# All the load there is: this process kept half of all cores busy since the last reading.
process._get_process_cpu_times = lambda: {process._pid: (time.time() - began) * LOAD * process._cpu_count}
process._get_power_from_cpus()
time.sleep(1)
process_w = process._get_power_from_cpus().W

print(f"codecarbon {version('codecarbon')}, {TDP_W} W, half load by one process:")
print(f"  the machine {machine_w:.1f} W, the only process on it {process_w:.1f} W")
still = abs(machine_w - 21.25) < 0.1 and abs(process_w - 50) < 1
print("still so" if still else "changed")
sys.exit(not still)
PYTHON
