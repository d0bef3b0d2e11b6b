"""tcpdump in a namespace of the lab, as a context: the file is complete when the context ends."""

import contextlib
import re
import select
import signal
import subprocess
import time

from labkit.system import LabError, inside_command

READY_SECONDS = 10
# A busy machine may let tcpdump wait for its turn while frames lie in the kernel's buffer.
DRAIN_SECONDS = 20
# That buffer; enough for bursts of 64 KB segments.
BUFFER_KB = 65536

_COUNTS = re.compile(r"(\d+) packets? captured, (\d+) packets? received by filter, (\d+) packets? dropped by kernel")


@contextlib.contextmanager
def capturing(netns_path, interface, file, expression=""):
    """Captures whole frames into `file` (pcap) while the context lasts. Raises LabError if tcpdump lost frames."""
    command = inside_command(netns_path, ["tcpdump", "-i", interface, "-s", "0", "-B", str(BUFFER_KB), "-U", "-n",
                                          "-Z", "root", "-w", str(file), *expression.split()])
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          start_new_session=True) as process:
        try:
            _line(process, "listening on", READY_SECONDS)
            yield
            dropped = _drain(process)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=READY_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
    if dropped:
        raise LabError(f"tcpdump on {interface} lost {dropped} frames")


def _drain(process):
    """Waits until tcpdump has written every frame that the kernel gave it; returns how many the kernel dropped.
    SIGUSR1 makes it say its counts; SIGINT alone would leave behind what it has not read yet."""
    deadline = time.monotonic() + DRAIN_SECONDS
    while time.monotonic() < deadline:
        process.send_signal(signal.SIGUSR1)
        counts = _COUNTS.search(_line(process, "received by filter", READY_SECONDS))
        captured, received, dropped = map(int, counts.groups())
        if captured + dropped >= received:
            return dropped
        time.sleep(0.05)
    raise LabError(f"tcpdump is {received - captured} frames behind after {DRAIN_SECONDS} s")


def _line(process, words, seconds):
    """The next line of tcpdump's standard error that holds `words`."""
    deadline = time.monotonic() + seconds
    seen = b""
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([process.stderr], [], [], left)[0]:
            break
        piece = process.stderr.read1(4096)
        if not piece:
            raise LabError(f"tcpdump ended: {seen.decode(errors='replace').strip()}")
        seen += piece
        for line in seen.decode(errors="replace").splitlines():
            if words in line and seen.endswith(b"\n"):
                return line
    raise LabError(f"tcpdump says nothing of '{words}': {seen.decode(errors='replace').strip()}")
