#!/bin/sh
# Installs duostory on the Milk-V Duo's stock image (SDK v2), or takes it away again.
# usage: install.sh [--uninstall]
# environment: ROOT, the folder of the system, for trials
set -eu
ROOT=${ROOT:-}
PREFIX=/opt/duostory

say() { echo "duostory: $*"; }
fail() { say "$*" >&2; exit 1; }

remove() {
	[ ! -x "$ROOT/etc/init.d/S95duostory" ] || "$ROOT/etc/init.d/S95duostory" stop >/dev/null
	# What was there before, or has been changed, stays.
	for file in asound.conf default/duostory; do
		! cmp -s "$ROOT$PREFIX/${file%/*}" "$ROOT/etc/$file" || rm "$ROOT/etc/$file"
	done
	rm -rf "$ROOT$PREFIX" "$ROOT/etc/init.d/S95duostory" "$ROOT/usr/bin/duostory"
}

case "${1:-}" in
--uninstall)
	remove
	say "is gone; settings (/etc/duostory.toml) and the last story (/var/lib/duostory) are still there"
	exit
	;;
"") ;;
*)
	echo "usage: install.sh [--uninstall]" >&2
	exit 2
	;;
esac

# ------------------------------------------------------------------------------------------------ what cannot be done without

here=$(cd "$(dirname "$0")" && pwd)
[ -x "$here/files/bin/python3" ] || fail "the files are not beside this script: unpack the whole tarball, and run it from there"
[ "$(uname -m)" = riscv64 ] || fail "this is a $(uname -m), and the programs are for RISC-V (riscv64): copy the tarball to the board"
[ "$(id -u)" = 0 ] || fail "has to be installed by root"
for folder in /etc/init.d /usr/bin; do
	[ -w "$ROOT$folder" ] || fail "cannot write into $folder: this is for an image whose root is writable, as Milk-V's is"
done
needed=$(du -sk "$here/files" | cut -f 1)
installed=$(du -sk "$ROOT$PREFIX" 2>/dev/null | cut -f 1)
free=$(df -k "$ROOT/" 2>/dev/null | awk '$4 ~ /^[0-9]+$/ { free = $4 } END { print free }')
[ -z "$free" ] || [ $((free + ${installed:-0})) -gt "$needed" ] || fail "needs $needed KB, and $free are free: delete something"

say "removing what is installed, copying $needed KB"
remove
mkdir -p "$ROOT${PREFIX%/*}" "$ROOT/etc/default"
cp -r "$here/files" "$ROOT$PREFIX"
version=$("$ROOT$PREFIX/bin/duostory" --version 2>&1) ||
	fail "its Python does not start on this system, so this image is not one that it was made for: $version"

cp "$ROOT$PREFIX/bin/S95duostory" "$ROOT/etc/init.d/S95duostory"
if [ ! -e "$ROOT/etc/asound.conf" ]; then
	cp "$ROOT$PREFIX/asound.conf" "$ROOT/etc/asound.conf"
elif ! grep -q /run/asound.conf "$ROOT/etc/asound.conf"; then
	say "/etc/asound.conf stays as it is, so the sound card is the one that it names; $PREFIX/asound.conf would take a USB card first"
fi
ln -sf "$PREFIX/bin/duostory" "$ROOT/usr/bin/duostory"
cat >"$ROOT$PREFIX/default" <<EOF
# Read by /etc/init.d/S95duostory.
export DUOSTORY_POCKETSPHINX=$PREFIX/hearing

# The port becomes one for a USB card only after this, and the card may come and go: look every 3 s, while the service is kept.
cards=\$(echo /sys/class/sound/pcmC*)
$PREFIX/bin/sound-card
[ "\$1" != supervise ] || while sleep 3 && kill -0 \$\$ 2>/dev/null; do
	before=\$cards cards=\$(echo /sys/class/sound/pcmC*)
	[ "\$cards" = "\$before" ] || $PREFIX/bin/sound-card
done &

# A model that lies beside the state is told from instead of the one that was installed.
model=/var/lib/duostory/story.duo
[ ! -r "\$model" ] || export DUOSTORY_MODEL="\$model"
EOF
[ -e "$ROOT/etc/default/duostory" ] || cp "$ROOT$PREFIX/default" "$ROOT/etc/default/duostory"

# ------------------------------------------------------------------------------------------- what a robot without is a poor one

memory=$(awk '/^MemTotal:/ { print int($2 / 1024) }' /proc/meminfo)
[ "$memory" -ge 50 ] || say "Linux has only $memory MB here, as memory is kept for a camera: take an image of SDK v2, which keeps none"
[ -n "$(find "$ROOT/usr/lib" "$ROOT/lib" -name 'libasound.so.2' 2>/dev/null | head -n 1)" ] ||
	say "there is no libasound.so.2, so it will be silent: take an image with ALSA's library, as Milk-V's is"
found=
for card in /sys/class/sound/card*; do
	[ -e "$card" ] || continue
	case $(readlink -f "$card") in */usb*) found="$found USB card $(cat "$card/id")," ;; *) found="$found $(cat "$card/id"),";; esac
done
case $found in
*USB*) say "found:${found%,}" ;;
*) say "there is no USB sound card: plug it in, and make the port one for devices: ln -sf /mnt/system/usb-host.sh /mnt/system/usb.sh," \
	"then reboot (the network over USB ends with that; the serial line stays)" ;;
esac

"$ROOT/etc/init.d/S95duostory" start
say "$version"
say "starts with the board from now on; settings are in /etc/duostory.toml, what is wrong says: duostory doctor"
