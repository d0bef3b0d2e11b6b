"""What the lab asks of the kernel: namespaces, programs inside them, huge pages. Every call raises LabError with one
sentence when it cannot do its job."""

import contextlib
import ctypes
import fcntl
import os
import pathlib
import shutil
import signal
import subprocess
import time

from labkit import plan as p

NETNS_DIR = pathlib.Path("/run/netns")
HUGE_PAGES = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")
# Set while /run/netns is a mount that a lab's first namespace caused: the last lab to leave takes it down again.
MOUNT_MARK = p.STATE_ROOT / "netns-mount-is-ours"

CLONE_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)


class LabError(Exception):
    """One sentence for the user."""


def run(*command, check=True, timeout=30):
    """Runs a short command and returns its output; a failure is a LabError with the command's own words."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=timeout, check=False)
    if check and done.returncode != 0:
        words = (done.stderr or done.stdout).strip().splitlines()
        raise LabError(f"{' '.join(str(word) for word in command)}: {words[-1] if words else done.returncode}")
    return done.stdout


def inside_command(netns_path, command):
    """The command line that runs `command` in a namespace, in the same process (no child in between)."""
    return ["nsenter", f"--net={netns_path}", "--", *command]


def setns(path):
    with open(path, "rb") as handle:
        if _LIBC.setns(handle.fileno(), CLONE_NEWNET) != 0:
            raise LabError(f"cannot enter {path}: {os.strerror(ctypes.get_errno())}")


@contextlib.contextmanager
def inside(netns_path):
    """This thread stands in another network namespace for a while; sockets made there stay there."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(netns_path)
        yield
    finally:
        if _LIBC.setns(own, CLONE_NEWNET) != 0:
            os._exit(70)  # going on in the wrong namespace would change somebody else's network
        os.close(own)


@contextlib.contextmanager
def undisturbed():
    """Ctrl-C and SIGTERM wait: cleaning up is done to its end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def lab_lock():
    """One lab at a time goes up or down: they share /run/netns and the huge pages."""
    handle = os.open(p.STATE_ROOT.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        p.STATE_ROOT.mkdir(mode=0o755, exist_ok=True)
        yield
    finally:
        os.close(handle)


def check_machine(programs):
    """Raises LabError if something is missing that no lab can do without."""
    if os.geteuid() != 0:
        raise LabError("the lab makes network namespaces: run it as root")
    if not os.path.exists("/dev/net/tun"):
        raise LabError("/dev/net/tun is missing: load the tun module (modprobe tun) or give this container the device")
    for tool in ("ip", "nsenter", "ping", "ethtool"):
        if shutil.which(tool) is None:
            raise LabError(f"{tool} is missing: run scripts/deps --run")
    for program in programs:
        if not os.access(program, os.X_OK):
            raise LabError(f"{program} is missing: build it (cmake --workflow --preset dev), or name its folder: --bin")


def _is_mount(path):
    with open("/proc/self/mounts", encoding="utf-8") as mounts:
        return any(line.split()[1] == str(path) for line in mounts)


def add_netns(name):
    fresh = not _is_mount(NETNS_DIR)
    run("ip", "netns", "add", name)
    if fresh and _is_mount(NETNS_DIR):
        MOUNT_MARK.touch()
    run("ip", "-n", name, "link", "set", "lo", "up")


def delete_netns(name):
    if (NETNS_DIR / name).exists():
        run("ip", "netns", "del", name)


def leave_no_netns_mount():
    """Takes the mount of /run/netns down if a lab caused it and nobody uses it any more."""
    if MOUNT_MARK.exists() and not any(NETNS_DIR.iterdir()):
        run("umount", NETNS_DIR)
        NETNS_DIR.rmdir()
        MOUNT_MARK.unlink()


def sysctl(netns_path, name, value):
    with inside(netns_path), open("/proc/sys/" + name, "w", encoding="ascii") as handle:
        handle.write(str(value))


def processes_in(netns_paths):
    """Process ids that live in one of the namespaces."""
    inodes = set()
    for path in netns_paths:
        with contextlib.suppress(OSError):
            inodes.add(os.stat(path).st_ino)
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            with contextlib.suppress(OSError):
                if os.stat(f"/proc/{entry}/ns/net").st_ino in inodes:
                    found.append(int(entry))
    return found


def end_processes(list_them, patience=2.0):
    """SIGTERM, then SIGKILL after `patience` seconds, to whatever list_them() returns until it returns nothing."""
    deadline = time.monotonic() + patience
    while pids := list_them():
        late = time.monotonic() > deadline
        if time.monotonic() > deadline + 10:
            raise LabError(f"processes {pids} do not end")
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
        time.sleep(0.05)


def reserve_huge_pages(count):
    """Adds 2 MB huge pages to the kernel's pool. True if all of them came; otherwise none is kept."""
    try:
        before = int(HUGE_PAGES.read_text(encoding="ascii"))
        HUGE_PAGES.write_text(str(before + count), encoding="ascii")
        if int(HUGE_PAGES.read_text(encoding="ascii")) >= before + count:
            return True
        HUGE_PAGES.write_text(str(before), encoding="ascii")
    except OSError:
        pass
    return False


def release_huge_pages(count):
    now = int(HUGE_PAGES.read_text(encoding="ascii"))
    HUGE_PAGES.write_text(str(max(0, now - count)), encoding="ascii")
