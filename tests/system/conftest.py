"""What a board in QEMU is made of."""

import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import riscv
from tests.system import guest
from tests.teller import ROOT

FIRMWARE = ROOT / "firmware" / "package" / "duostory"
TOOLS = ["qemu-system-riscv64", "qemu-riscv64", "mksquashfs", "mkfs.ext4", "e2fsck", "debugfs", "setpriv"]


@pytest.fixture(scope="session")
def product(tmp_path_factory, request) -> Path:
    """The image with our package, its model, and what starts it; it lies over Debian's."""
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        pytest.skip(f"needs {', '.join(missing)}; run scripts/cross-tools all")
    if not guest.KERNEL.exists() or not guest.DEBIAN.exists():
        pytest.skip("needs a kernel and a file system for the emulated board; run scripts/guest-kernel and scripts/guest-root")
    package = request.getfixturevalue("riscv_package")
    folder = tmp_path_factory.mktemp("product")
    root = folder / "root"
    packages = root / "usr" / "lib" / "python3" / "dist-packages"
    shutil.copytree(package, packages)
    python = ["qemu-riscv64", "-L", riscv.DEBIAN, riscv.DEBIAN / "usr" / "bin" / "python3"]
    subprocess.run([*python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", root, packages], check=True)
    starts, units = root / "etc" / "init.d", root / "usr" / "lib" / "systemd" / "system"
    wanted, commands = units / "multi-user.target.wants", root / "usr" / "bin"
    for place in starts, wanted, commands:
        place.mkdir(parents=True)
    (commands / "duostory").write_text("#!/usr/bin/python3\nfrom duostory.__main__ import main\n\nraise SystemExit(main())\n")
    (commands / "duostory").chmod(0o755)
    shutil.copy(FIRMWARE / "S95duostory", starts)
    shutil.copy(FIRMWARE / "duostory.service", units)
    (wanted / "duostory.service").symlink_to("../duostory.service")
    image = folder / "product.squashfs"
    subprocess.run(["mksquashfs", root, image, "-quiet", "-no-progress", "-comp", "lz4", "-all-root"],
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
    """boot(init, state=..., ...) powers a board on, with a new state partition unless one is given; see guest.Guest."""
    guests, numbers = [], itertools.count(1)
    work = tmp_path_factory.mktemp("state")

    def boot(init: str, state: Path | None = None, **options) -> guest.Guest:
        number = next(numbers)
        folder = logs / f"{request.module.__name__.rpartition('.')[2]}-{number}"
        folder.mkdir()
        if not state:
            state = work / f"{number}.ext4"
            make_state(state)
        guests.append(guest.Guest(folder, product, state, init, **options))
        return guests[-1]

    yield boot
    for each in guests:
        each.close()


def make_state(image: Path, files: Path | None = None) -> None:
    """A state partition of 8 MB, empty or with `files`."""
    image.write_bytes(b"")
    subprocess.run(["truncate", "-s", "8M", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-L", "state", *(["-d", files] if files else []), image], check=True)
