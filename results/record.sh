#!/usr/bin/env bash
# Make the records of a project, or show how:
#
#     bash results/record.sh lstm_airquality      # run what is missing, then record it
#     bash results/record.sh --list               # every command of every record, and its hours
#
# Needs the real data and a checkout without changes: use a separate worktree while you work on.
# What was stopped goes on where it stopped when the same command is given again.
set -euo pipefail
cd "$(dirname "$0")/.."
exec "${PYTHON:-python}" results/commands.py "$@"
