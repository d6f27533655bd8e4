#!/bin/sh
# For the board's stock image, whose S99user runs /mnt/data/auto.sh at the end of its start. Copy it there, with
# S95duostory beside it; both work without systemd, and as root.
COMMAND="${COMMAND:-python3 -m duostory serve --mic}" STATE_DIRECTORY="${STATE_DIRECTORY:-/mnt/data/duostory}" \
	"${DUOSTORY_INIT:-/mnt/data/S95duostory}" start
