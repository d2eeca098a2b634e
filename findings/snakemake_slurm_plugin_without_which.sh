#!/usr/bin/env bash
# snakemake-executor-plugin-slurm 2.8.0 with Snakemake 9.27.1: where it is merely installed and the path has no `which`, a
# workflow of one local job does not start. With `which`, or without the plugin, the same command does the job.
# Why it matters: small images of Linux have no `which`, and an environment that is made for a laptop and a cluster alike
# has the plugin. Snakemake loads every plugin at its start, whatever the executor, and this one's help text for an option
# asks `which` for `sacct`: is_query_tool_available in job_status_query.py catches that the program fails
# (CalledProcessError), not that it is absent (FileNotFoundError).
# Exits 0 where this is still so, 1 where it has changed.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
pip() { "$folder/env/bin/pip" --quiet --disable-pip-version-check "$@"; }
pip install --no-compile snakemake==9.27.1 snakemake-executor-plugin-slurm==2.8.0
mkdir "$folder/programs" "$folder/flow"
for program in sh bash; do ln -s "$(command -v "$program")" "$folder/programs/"; done
cat >"$folder/flow/Snakefile" <<'EOF'
rule all:
    output: "done"
    shell: "echo > done"
EOF
job() {
  rm -rf "$folder/flow/done" "$folder/flow/.snakemake"
  (cd "$folder/flow" && HOME="$folder" PATH="$folder/env/bin:$folder/programs$1" \
    "$folder/env/bin/python" -m snakemake --cores 1 --quiet all >"$folder/log" 2>&1) || true
  [ -e "$folder/flow/done" ] && echo "done" || grep -m 1 "^FileNotFoundError" "$folder/log" || tail -n 1 "$folder/log"
}
printf '#!/bin/sh\ncommand -v "$@"\n' >"$folder/which"
chmod +x "$folder/which"
without="$(job "")"
with="$(job ":$folder")"
pip uninstall --yes snakemake-executor-plugin-slurm
alone="$(job "")"
echo "plugin installed, no which: $without"
echo "plugin installed, which: $with"
echo "no plugin, no which: $alone"
if [[ "$without" == FileNotFoundError*which* ]] && [ "$with" = "done" ] && [ "$alone" = "done" ]; then
  echo "still so"
else
  echo "changed"
  exit 1
fi
