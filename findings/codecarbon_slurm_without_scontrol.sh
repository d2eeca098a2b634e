#!/usr/bin/env bash
# CodeCarbon 3.3.2, in a process whose environment has SLURM_JOB_ID and whose path has no `scontrol`: a container in a
# Slurm job, as Apptainer starts one. `start()` raises nothing, `stop()` returns None, and no energy was counted.
# Without the variable the same script returns a value.
# Why it matters: a study in a container on a cluster gets no energy and no error. `count_cpus` in codecarbon/core/util.py
# catches the program's failure (CalledProcessError), not its absence (FileNotFoundError), which a decorator then swallows.
# Exits 0 where this is still so, 1 where it has changed.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet --no-compile --disable-pip-version-check codecarbon==3.3.2
cat >"$folder/measure.py" <<'EOF'
from codecarbon import OfflineEmissionsTracker

tracker = OfflineEmissionsTracker(country_iso_code="DNK", output_methods=[], log_level="critical")
tracker.start()
print("emissions:", "none" if tracker.stop() is None else "some")
EOF
cd "$folder"
mkdir empty
with="$(env -u SLURM_JOBID SLURM_JOB_ID=7 HOME="$folder" PATH="$folder/empty" "$folder/env/bin/python" measure.py 2>/dev/null)"
without="$(env -u SLURM_JOBID -u SLURM_JOB_ID HOME="$folder" PATH="$folder/empty" "$folder/env/bin/python" measure.py 2>/dev/null)"
echo "with SLURM_JOB_ID and without scontrol: $with"
echo "without SLURM_JOB_ID: $without"
if [ "$with" = "emissions: none" ] && [ "$without" = "emissions: some" ]; then
  echo "still so"
else
  echo "changed"
  exit 1
fi
