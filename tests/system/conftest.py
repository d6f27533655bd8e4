"""What a board in QEMU is made of."""

import itertools
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import riscv
from tests.system import guest
from tests.teller import ROOT

os.environ["PATH"] += ":/usr/sbin:/sbin"  # where the tools for file systems are, and not for everybody

FIRMWARE = ROOT / "firmware"
EXECUTABLE, PLAIN = 0o755, 0o644

# What of the firmware is on the emulated board, and where Buildroot puts it; and all of board/qemu/overlay.
FILES = {
    "etc/init.d/S01state": ("board/duo/overlay/etc/init.d/S01state", EXECUTABLE),
    "etc/init.d/S15watchdog": ("board/duo/overlay/etc/init.d/S15watchdog", EXECUTABLE),
    "etc/init.d/S95duostory": ("package/duostory/S95duostory", EXECUTABLE),
    "usr/lib/systemd/system/duostory.service": ("package/duostory/duostory.service", PLAIN),
    "usr/lib/systemd/system/duostory.service.d/ear.conf": ("package/duostory/ear.conf", PLAIN),
    "usr/lib/udev/rules.d/60-duostory.rules": ("package/duostory/60-duostory.rules", PLAIN),
    "usr/libexec/duostory/state": ("package/duostory/state", EXECUTABLE),
    "usr/libexec/duostory/sound-card": ("package/duostory/sound-card", EXECUTABLE),
    "etc/asound.conf": ("package/duostory/asound.conf", PLAIN),
}
COMMAND = """#!/usr/bin/python3
from duostory.__main__ import main

raise SystemExit(main())
"""
TOOLS = ["qemu-system-riscv64", "qemu-riscv64", "mksquashfs", "mkfs.ext4", "e2fsck", "debugfs", "setpriv"]


@pytest.fixture(scope="session")
def product(tmp_path_factory, request) -> Path:
    """The image of the board: Debian's files, our package with its model, and what starts it."""
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        pytest.skip(f"needs {', '.join(missing)}; run scripts/cross-tools all")
    if not guest.KERNEL.exists() or not guest.DEBIAN.exists():
        pytest.skip("needs a kernel and a file system for the emulated board; run scripts/guest-kernel and scripts/guest-root")
    package = request.getfixturevalue("riscv_package")
    folder = tmp_path_factory.mktemp("product")
    root = folder / "root"
    subprocess.run(["cp", "-a", guest.DEBIAN, root], check=True)
    packages = root / "usr" / "lib" / "python3" / "dist-packages"
    shutil.copytree(package, packages, dirs_exist_ok=True)
    subprocess.run(["qemu-riscv64", "-L", riscv.DEBIAN, riscv.DEBIAN / "usr/bin/python3", "-m", "compileall", "-q",
                    "--invalidation-mode", "unchecked-hash", "-s", root, packages], check=True)
    shutil.copytree(FIRMWARE / "board/qemu/overlay", root, symlinks=True, dirs_exist_ok=True)
    for place, (source, mode) in FILES.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(FIRMWARE / source, root / place)
        (root / place).chmod(mode)
    (root / "usr" / "bin" / "duostory").write_text(COMMAND)
    (root / "usr" / "bin" / "duostory").chmod(0o755)
    shutil.copy(FIRMWARE / "board/duo/overlay/etc/fstab", root / "etc" / "fstab")
    for place, partition in {"etc/init.d/S01state": "mmcblk0p3", "etc/systemd/system/state.service": "vda2"}.items():
        (root / place).write_text((root / place).read_text().replace(partition, "vdb"))
    rule = re.search("(?m)^rule='(.*)'$", (FIRMWARE / "board/duo/post-build.sh").read_text())[1]
    (root / "etc" / "mdev.conf").write_text(f"{rule}\nsnd/.* root:audio 660\n")
    defaults = (FIRMWARE / "package/duostory/default").read_text()
    (root / "etc" / "default").mkdir(exist_ok=True)
    (root / "etc" / "default" / "duostory").write_text(f"{defaults}SERIAL=/dev/ttyS0\n")
    (root / "usr/lib/systemd/system/multi-user.target.wants/duostory.service").symlink_to("../duostory.service")
    if riscv.POCKETSPHINX.exists():
        ear = root / "usr/share/duostory/hearing"
        shutil.copytree(riscv.POCKETSPHINX, ear, ignore=shutil.ignore_patterns("cmudict*", "en-us"))
        model, dictionary = riscv.POCKETSPHINX / "en-us", riscv.POCKETSPHINX / "cmudict-en-us.dict"
        subprocess.run([ROOT / "scripts/grammar", model, dictionary, ear], check=True)
    image = folder / "root.squashfs"
    devices = [option for device in ("console c 600 0 0 5 1", "null c 666 0 0 1 3") for option in ("-p", f"dev/{device}")]
    subprocess.run(["mksquashfs", root, image, "-quiet", "-no-progress", "-comp", "lz4", "-all-root", *devices],
                   check=True, stdout=subprocess.DEVNULL)
    return image


@pytest.fixture(scope="session")
def logs() -> Path:
    """Where what the boards printed and played is kept."""
    folder = ROOT / "build" / "system-logs"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def boot(product, logs, tmp_path_factory, request):
    """boot(init, state, ...) powers a board on, with a new state partition unless one is given; see guest.Guest."""
    numbers = itertools.count(1)
    work = tmp_path_factory.mktemp("state")

    def boot(init: str, state: Path | None = None, **options) -> guest.Guest:
        number = next(numbers)
        folder = logs / f"{request.module.__name__.rpartition('.')[2]}-{number}"
        folder.mkdir()
        if not state:
            state = work / f"{number}.ext4"
            make_state(state)
        return guest.Guest(folder, product, state, init, **options)

    return boot


def make_state(image: Path, files: Path | None = None) -> None:
    """A state partition of 8 MB, empty or with `files`."""
    image.write_bytes(b"")
    subprocess.run(["truncate", "-s", "8M", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-L", "state", *(["-d", files] if files else []), image], check=True)
