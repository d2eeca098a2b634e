#!/usr/bin/env bash
# eco2ai 0.3.12, which names no bound on pandas: with pandas 3 a row keeps what its first measuring period took.
#
# The tracker reads its file again after each period and puts the new values into the row, cell by cell, with a word for
# the epoch. The word was written as an empty cell, which pandas reads as a number that is missing: pandas 2 widened
# the column and warned, pandas 3 raises. The periods' updates run in another thread, where nobody sees it; `stop`
# raises, after the training. A caller that lets it pass, or finds the file later, has a row that looks whole, with the
# energy of the first period (ten seconds where nothing else is asked) for that of the training.
# Exits 0 where this is still so, 1 where it has changed.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/train.py" <<'PYTHON'
import csv
import sys
import time
import warnings
from importlib.metadata import version

from eco2ai import Tracker

warnings.simplefilter("ignore")
tracker = Tracker(
    project_name="one", experiment_description="waits", file_name=sys.argv[1], measure_period=1, alpha_2_code="NO",
    ignore_warnings=True,
)
tracker.start()
time.sleep(5)
ended = "no error"
try:
    tracker.stop()
except TypeError as error:
    ended = f"stop: {error}"
with open(sys.argv[1]) as stream:
    (row,) = csv.DictReader(stream)
part = "whole" if float(row["duration(s)"]) > 4.5 else "part"
print(f"eco2ai {version('eco2ai')}, pandas {version('pandas')}: {part} of 5 s in the row; {ended}")
PYTHON
for pandas in 2.3.3 3.1.1; do
  python3 -m venv "$folder/$pandas"
  "$folder/$pandas/bin/pip" install --quiet --disable-pip-version-check eco2ai==0.3.12 setuptools==80.9.0 "pandas==$pandas"
  (cd "$folder" && "$folder/$pandas/bin/python" train.py "$folder/$pandas.csv" 2>/dev/null) | tee -a "$folder/seen"
done
if grep -q "pandas 2.3.3: whole of 5 s in the row; no error" "$folder/seen" &&
  grep -q "pandas 3.1.1: part of 5 s in the row; stop: Invalid value" "$folder/seen"; then
  echo "still so"
else
  echo "changed"
  exit 1
fi
