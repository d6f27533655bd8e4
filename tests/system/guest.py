"""The board in QEMU: RISC-V, one core, 60 MB of memory, a sound card that records what is played.

What it prints, its sound and its state stay in its folder, for a person to look at and listen to.
"""

import contextlib
import json
import os
import re
import socket
import subprocess
import threading
import time
from array import array
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "duostory"
KERNEL = CACHE / "guest-kernel" / "Image"
DEBIAN = CACHE / "guest-root"

BUSYBOX, SYSTEMD = "/usr/lib/busybox/init", "/usr/sbin/init"
MEMORY = 60  # MB, of which Linux leaves 55 to programs as on the board
PATIENCE = 240  # seconds for anything; the emulated board is slow, and slower on a busy machine
RATE = 22050  # samples a second, of what is recorded
AUDIBLE = 300  # samples beyond this are sound, of 32768


class Silence(AssertionError):
    """What was waited for has not come."""


class Line:
    """A serial line into the board. Everything that comes is kept in `log`; `said` holds what no one has expected yet."""

    def __init__(self, log: Path) -> None:
        self._ours, self.theirs = socket.socketpair()
        self._log, self._said, self._over, self._news = log, b"", False, threading.Condition()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        try:
            with open(self._log, "wb", buffering=0) as log, contextlib.suppress(ConnectionResetError):  # the power has gone
                while data := self._ours.recv(4096):
                    log.write(data)
                    with self._news:
                        self._said += data
                        self._news.notify_all()
        finally:
            with self._news:
                self._over = True
                self._news.notify_all()

    def send(self, text: str) -> None:
        self._ours.sendall(text.encode() + b"\n")

    def expect(self, pattern: str, timeout: float) -> re.Match:
        """Wait until `pattern` comes, and forget all up to its end. Raises Silence after `timeout` seconds or without power."""
        wanted = re.compile(pattern.encode(), re.MULTILINE)
        with self._news:
            self._news.wait_for(lambda: wanted.search(self._said) or self._over, timeout)
            if not (found := wanted.search(self._said)):
                said = self._said[-500:].decode(errors="replace")
                raise Silence(f"no {pattern!r} in {timeout} s, but {said!r}; see {self._log}")
            self._said = self._said[found.end():]
        return found

    def close(self) -> None:
        self._ours.shutdown(socket.SHUT_RDWR)
        self._listener.join()  # or it might go on to read from whatever is given the same number
        self._ours.close()


def text_before(found: re.Match) -> str:
    """What came before what was expected. To expect ".*" instead would take a time that grows with the square of it."""
    return found.string[:found.start()].decode(errors="replace").replace("\r", "")


class Guest:
    """A board that has just been powered on, with the state partition `state`, which it writes to. As a context manager it
    loses its power at the end.

    init -- BUSYBOX or SYSTEMD
    card -- whether there is a sound card, on USB
    microphone -- whether there is a card "Loopback" that records what is played on it
    worn_out -- whether the state partition can only be read
    settings -- of duostory, as the names of environment variables and their values
    console -- the serial line of the board
    """

    def __init__(self, folder: Path, product: Path, state: Path, init: str, *, card: bool = True, microphone: bool = False,
                 worn_out: bool = False, settings: dict[str, str] | None = None) -> None:
        self.folder, self.init, self.wav, self.state = folder, init, folder / "sound.wav", state
        lines = {what: Line(folder / f"{what}.log") for what in ("console", "shell", "control")}
        self.console, self._shell, self._control = lines.values()
        # What Linux does not know is handed to the init, and by BusyBox's to everybody.
        prefix = "systemd.setenv=" if init == SYSTEMD else ""
        variables = " ".join(f"{prefix}{key}={value}" for key, value in (settings or {}).items())
        # norandmaps: QEMU translates a library anew for each address that it lies at, which no real processor has to.
        options = (f"console=ttyS0 norandmaps quiet panic=-1 TERM=dumb root=/dev/vda rootfstype=squashfs ro init={init} "
                   f"snd_aloop.enable={int(microphone)} snd_aloop.index=1 snd.cards_limit=2 {variables}")
        command = [*"setpriv --pdeathsig KILL qemu-system-riscv64 -M virt -nodefaults -nographic -no-reboot".split(),
                   "-m", f"{MEMORY}M", "-kernel", KERNEL, "-append", options,
                   *"-device virtio-rng-pci -device i6300esb -device qemu-xhci -device virtio-serial".split(),
                   "-audiodev", f"wav,id=sound,path={self.wav},out.frequency={RATE}"]
        for id, line in lines.items():
            command += ["-chardev", f"socket,id={id},fd={line.theirs.fileno()}"]
        command += ["-serial", "chardev:console", "-device", "virtconsole,chardev=shell", "-mon", "control,mode=control"]
        for id, image, read_only in ("root", product, True), ("state", state, worn_out):
            command += ["-device", f"virtio-blk-pci,drive={id}",
                        "-drive", f"id={id},if=none,format=raw,file={image},readonly={'on' if read_only else 'off'}"]
        if card:
            command += ["-device", "usb-audio,id=card,audiodev=sound"]
        self.powered_on = time.monotonic()
        self._qemu = subprocess.Popen(command, stdin=subprocess.DEVNULL,
                                      pass_fds=[line.theirs.fileno() for line in lines.values()])
        for line in lines.values():
            line.theirs.close()
        try:
            self.control("qmp_capabilities")
        except BaseException:
            self.__exit__()
            raise

    def __enter__(self) -> "Guest":
        return self

    def __exit__(self, *_) -> None:
        """Take the power away."""
        self._qemu.kill()
        self._qemu.wait()
        for line in (self.console, self._shell, self._control):
            line.close()

    def run(self, command: str, timeout: float = PATIENCE) -> str:
        """What a command of the shell prints there. Raises CalledProcessError when it fails."""
        self._shell.send(f"{{ {command}\n}} 2>&1; echo status $?")
        found = self._shell.expect(r"^status (\d+)\r?$", timeout)
        printed, status = text_before(found), int(found[1])
        if status:
            raise subprocess.CalledProcessError(status, command, printed)
        return printed

    def control(self, command: str, **arguments) -> None:
        """A command to QEMU itself, as its machine protocol has them."""
        self._control.send(json.dumps({"execute": command, "arguments": arguments}))
        self._control.expect(r'"return": ', 60)

    def wait_for_event(self, name: str, timeout: float = PATIENCE) -> None:
        """Wait for something that QEMU itself reports."""
        self._control.expect(f'"event": "{name}"', timeout)

    def wait_for_shell(self, timeout: float = PATIENCE) -> None:
        """The init forgets what was sent before there is a shell."""
        begun = time.monotonic()
        while True:
            self._shell.send("stty -echo; echo here")
            try:
                self._shell.expect(r"^here", 1)
                break
            except Silence:
                if time.monotonic() - begun > timeout:
                    raise
        self.run("export SYSTEMD_PAGER=cat")

    def off(self, timeout: float = PATIENCE) -> float:
        """Shut down, and return how many seconds that took."""
        begun = time.monotonic()
        self._shell.send("systemctl poweroff" if self.init == SYSTEMD else "busybox poweroff")
        self._qemu.wait(timeout)
        return time.monotonic() - begun

    # --- Sound --------------------------------------------------------------------------------------

    def sound(self, after: int = 0) -> array:
        """The samples of the left channel that have been played so far, RATE a second, after the first `after`."""
        if not self.wav.exists():
            return array("h")
        with open(self.wav, "rb") as wav:
            wav.seek(44 + 4 * after)  # QEMU fills in the header's lengths at its end
            data = wav.read()
        return array("h", data[:len(data) // 4 * 4])[::2]

    def wait_for_sound(self, timeout: float, *, after: int = 0) -> float:
        """Wait for sound after the first `after` samples, and return seconds since power-on. Raises Silence."""
        begun = time.monotonic()
        while (now := time.monotonic()) < begun + timeout:
            samples = self.sound(after)
            if audible(samples):
                return now - self.powered_on
            after += len(samples)
            time.sleep(0.05)
        raise Silence(f"no sound in {timeout} s; see {self.folder}")

    def wait_for_silence(self, timeout: float, *, after: int = 0) -> array:
        """Wait until nothing is heard for three seconds, and return the sound after the first `after` samples, without the
        silence around it."""
        begun, last, samples = time.monotonic(), time.monotonic(), array("h")
        while time.monotonic() - last < 3:
            if time.monotonic() > begun + timeout:
                raise Silence(f"no silence in {timeout} s; see {self.folder}")
            time.sleep(0.2)
            new = self.sound(after + len(samples))
            if audible(new):
                last = time.monotonic()
            samples += new
        loud = [place for place, sample in enumerate(samples) if abs(sample) > AUDIBLE]
        return samples[loud[0]:loud[-1]] if loud else array("h")


def tells_a_story(board: Guest, wish: str = "a kitten") -> None:
    """A story that somebody asks for on the serial line is told there."""
    board.console.send(wish)
    board.console.expect(rf"{wish}\r\n", PATIENCE)
    board.console.expect(r"Once upon a time[^.]+\.", PATIENCE)


def audible(samples: array) -> bool:
    return bool(samples) and max(max(samples), -min(samples)) > AUDIBLE
