#!/bin/sh
# Puts the boot loader and the kernel, which the SDK has built, beside the root file system for genimage.
set -eu
: "${DUOSTORY_BOOT:?is not set: it names the folder with fip.bin and boot.sd, as build-sd-image does}"
cp "$DUOSTORY_BOOT/fip.bin" "$DUOSTORY_BOOT/boot.sd" "$BINARIES_DIR"
