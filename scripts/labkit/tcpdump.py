"""tcpdump in a namespace of the lab, as a context: the file is complete when the context ends."""

import contextlib
import signal
import subprocess
import time

from labkit.system import LabError, inside_command

READY_SECONDS = 10
# Frames wait here until tcpdump writes them; enough for bursts of 64 KB segments.
BUFFER_KB = 65536


@contextlib.contextmanager
def capturing(netns_path, interface, file, expression=""):
    """Captures whole frames into `file` (pcap) while the context lasts. Raises LabError if tcpdump lost frames."""
    command = inside_command(netns_path, ["tcpdump", "-i", interface, "-s", "0", "-B", str(BUFFER_KB), "-U", "-n",
                                          "-Z", "root", "-w", str(file), *expression.split()])
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               start_new_session=True)
    try:
        _wait_until_listening(process)
        yield
        time.sleep(0.2)  # frames on their way through the kernel's buffer
    finally:
        process.send_signal(signal.SIGINT)
        try:
            _, words = process.communicate(timeout=READY_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            _, words = process.communicate()
    for line in words.splitlines():
        if "dropped by kernel" in line and int(line.split()[0]) > 0:
            raise LabError(f"tcpdump on {interface} lost frames: {line}")


def _wait_until_listening(process):
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        line = process.stderr.readline()
        if "listening on" in line:
            return
        if not line:
            raise LabError("tcpdump ended before it listened")
    raise LabError("tcpdump does not start")
