"""What the lab tests share: a lab under a name of its own, and sockets and programs in its pods.

Sockets are made inside a pod's namespace and used from this process, so a test is one program that plays both ends.
Every wait has a bound. A test module calls bed.up() in setUpModule and bed.down() in tearDownModule.
"""

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import random
import socket
import struct
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import yaml  # noqa: E402

from labkit import access_log, configs, system  # noqa: E402  (the path has to be set first)
from labkit import plan as p  # noqa: E402
from labkit.lab import Lab  # noqa: E402
from labkit.system import LabError  # noqa: E402

BIN = os.environ.get("CULVERT_BIN", str(ROOT / "build/dev/bin"))

# Who talks to whom: both families, between nodes and within one.
PATHS = [(f"{client} to {server} over IPv{6 if ':' in address else 4}", client, server, address)
         for client, server in (("n1-p1", "n2-p1"), ("n1-p1", "n1-p2"))
         for address in p.PODS[server].addresses]

# Chunks of this size keep the interpreter out of the way of the bytes.
CHUNK = 1 << 20


class Bed:
    """A lab that is up, as a test sees it."""

    def __init__(self, lab):
        self.lab = lab
        self.plan = lab.plan

    @classmethod
    def up(cls, name, **options):
        """Brings a lab up, after taking down what a killed run of the same name left."""
        plan = p.Plan(name=name, bin=BIN, **options)
        Lab(plan).down()
        lab = Lab(plan)
        lab.up()
        return cls(lab)

    def down(self):
        self.lab.down()

    # Sockets

    def socket(self, place, family):
        with system.inside(self.plan.netns_path(place)):
            return socket.socket(family, socket.SOCK_STREAM)

    def connect(self, place, address, port, timeout=10):
        """A connection from a pod. The caller closes it."""
        stream = self.socket(place, socket.AF_INET6 if ":" in address else socket.AF_INET)
        stream.settimeout(timeout)
        try:
            stream.connect((address, port))
        except BaseException:
            stream.close()
            raise
        return stream

    def listen(self, place, port, backlog=256):
        """A listening socket in a pod, for both families."""
        listener = self.socket(place, socket.AF_INET6)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(("::", port))
        listener.listen(backlog)
        listener.settimeout(20)
        return listener

    @contextlib.contextmanager
    def server(self, place, port, serve, resets=False):
        """While the context lasts, serve(stream, peer address) runs on a thread for each connection to a pod's port.
        What it raises, the end of the context raises; with `resets`, connections may be reset."""
        server = Server(self.listen(place, port), serve)
        try:
            yield server
        finally:
            server.close()
        for failure in server.failures:
            if not (resets and isinstance(failure, (ConnectionResetError, BrokenPipeError))):
                raise failure

    # Programs

    def run(self, place, *command, timeout=60):
        """A command in a pod; returns what it wrote and its status."""
        return subprocess.run(self.lab.command(place, *map(str, command)), capture_output=True, text=True,
                              timeout=timeout, check=False)

    @contextlib.contextmanager
    def running(self, place, *command):
        """A command in a pod that lives as long as the context."""
        process = subprocess.Popen(self.lab.command(place, *map(str, command)), stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    # The control plane

    def istiod(self, step):
        """Has the fake istiod do a step of its script now, as a map."""
        with open(self.plan.istiod_steps, "w", encoding="utf-8") as steps:
            steps.write(json.dumps(step) + "\n")

    def istiod_events(self, event):
        """What the fake istiod saw or did, of one kind, oldest first."""
        found = []
        with open(self.plan.istiod_dir / f"{p.ISTIOD}.log", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                with contextlib.suppress(ValueError):
                    found.append(json.loads(line))
        return [one for one in found if one.get("event") == event]

    def http(self, node, port, path, method="GET"):
        """(status, body) of one of the faces of a node's agent."""
        done = self.run(node, "curl", "-s", "-X", method, "-w", "\n%{http_code}", f"http://127.0.0.1:{port}{path}")
        body, _, status = done.stdout.rpartition("\n")
        return int(status or 0), body

    # What the nodes say

    def pid(self, node, program="dataplane"):
        return self.lab.ask({"do": "status"})[node][program]["pid"]

    def log(self, node, program="dataplane"):
        return self.lab.log_file(node, program).read_text(encoding="utf-8", errors="replace")

    def access_lines(self, node):
        return access_log.read(self.lab.log_file(node, "dataplane"))

    def wait_for_access_line(self, node, seconds=5, **fields):
        """The first line that has these fields (dots as underscores: src_addr), or AssertionError."""
        wanted = {key.replace("_", ".", 1) if key.startswith(("src_", "dst_")) else key: value
                  for key, value in fields.items()}
        return wait_for(lambda: next((line for line in self.access_lines(node)
                                      if all(line.get(key) == value for key, value in wanted.items())), None),
                        seconds, f"no line with {wanted} in the log of {node}")

    # Changes to the lab

    def mesh_versions(self):
        """The mesh that each data plane has in force, as its agent named it."""
        return [self.lab.ctl(node, "status")["mesh_version"] for node in p.NODES]

    def write_mesh(self, text):
        """Replaces the mesh file of both nodes, as an editor does it: a new file under the old name."""
        fresh = self.plan.mesh_file.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.plan.mesh_file)

    def load_mesh(self, text):
        """Replaces the mesh file and waits until both data planes have it in force."""
        if yaml.safe_load(text) == yaml.safe_load(self.plan.mesh_file.read_text(encoding="utf-8")):
            return  # says the same as the one before: no version to wait for
        before = self.mesh_versions()
        self.write_mesh(text)
        wait_for(lambda: all(now != old for now, old in zip(self.mesh_versions(), before)), 10,
                 "the new mesh is not in force after 10 s")

    def write_config(self, node, text):
        fresh = self.plan.config(node).with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(self.plan.config(node))


class Server:
    def __init__(self, listener, serve):
        self._listener = listener
        self._serve = serve
        self._threads = []
        self.failures = []
        self._closing = False
        self._acceptor = threading.Thread(target=self._accept, daemon=True)
        self._acceptor.start()

    def _accept(self):
        self._listener.settimeout(0.1)
        while not self._closing:
            try:
                stream, peer = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            stream.settimeout(60)
            thread = threading.Thread(target=self._one, args=(stream, plain(peer[0])), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _one(self, stream, peer):
        with stream:
            try:
                self._serve(stream, peer)
            except Exception as error:  # told at the end of the context
                self.failures.append(error)

    def close(self):
        self._closing = True
        self._acceptor.join(5)
        self._listener.close()
        for thread in self._threads:
            thread.join(30)


def plain(address):
    """An address as people write it: IPv4 also where a socket for both families shows it mapped."""
    return address.removeprefix("::ffff:")


def wait_for(ask, seconds, otherwise):
    """ask() until it returns something true, which is returned; AssertionError(otherwise) after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(otherwise)
        time.sleep(0.02)


# Byte streams


def pattern(size, seed=0):
    """`size` bytes that repeat nowhere within 64 MB and tell their place: a lost, doubled or swapped piece shows."""
    block = random.Random(seed).randbytes(min(size, 64 << 20))
    made = 0
    while made < size:
        for at in range(0, len(block), CHUNK):
            piece = struct.pack(">Q", made + at) + block[at + 8:at + CHUNK]
            piece = piece[:size - made - at] if made + at + len(piece) > size else piece
            if piece:
                yield piece
        made += len(block)


def digest(pieces):
    state = hashlib.sha256()
    for piece in pieces:
        state.update(piece)
    return state.hexdigest()


def send_pattern(stream, size, seed=0):
    """Sends a pattern and returns its SHA-256."""
    state = hashlib.sha256()
    for piece in pattern(size, seed):
        stream.sendall(piece)
        state.update(piece)
    return state.hexdigest()


def receive_all(stream):
    """Reads to the clean end; returns (bytes, SHA-256). A reset raises ConnectionResetError."""
    state = hashlib.sha256()
    total = 0
    while piece := stream.recv(CHUNK):
        state.update(piece)
        total += len(piece)
    return total, state.hexdigest()


def receive_exactly(stream, size):
    parts = []
    while size > 0:
        piece = stream.recv(min(size, CHUNK))
        if not piece:
            raise EOFError(f"the stream ended {size} bytes early")
        parts.append(piece)
        size -= len(piece)
    return b"".join(parts)


def echo(stream, _peer):
    """A server that gives back what it gets, to the clean end."""
    while piece := stream.recv(CHUNK):
        stream.sendall(piece)


class Load:
    """A connection that sends and checks its own echo until it is stopped."""

    def __init__(self, stream):
        self._stream = stream
        self._stop = threading.Event()
        self.bytes = 0
        self.failure = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            for piece in pattern(1 << 40):
                if self._stop.is_set():
                    return
                piece = piece[:256 << 10]
                self._stream.sendall(piece)
                if receive_exactly(self._stream, len(piece)) != piece:
                    raise AssertionError("other bytes came back")
                self.bytes += len(piece)
        except Exception as error:
            self.failure = error

    def stop(self):
        self._stop.set()
        self._thread.join(10)
        if self._thread.is_alive() and self.failure is None:
            self.failure = AssertionError("the connection stands still")
        self._stream.close()


def close_with_reset(stream):
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()


def how_it_ended(stream, seconds):
    """Waits for the end of a stream: "reset", "end" (a clean one) or "nothing" within the time; data is read over."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        stream.settimeout(left)
        try:
            if not stream.recv(CHUNK):
                return "end"
        except TimeoutError:
            break
        except OSError as error:
            if error.errno in (errno.ECONNRESET, errno.EPIPE):
                return "reset"
            return f"error {error.errno}"
    return "nothing"


def cpu_seconds(pid):
    """CPU time of a process, all threads, user and kernel."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def iperf3(bed, client, server, address, streams, reverse, seconds=2):
    """Runs iperf3 between two pods; returns bits per second at the receiver."""
    with bed.running(server, "iperf3", "-s", "-1", "-p", "5201") as listening:
        wait_for(lambda: bed.run(server, "ss", "-Hltn", "sport", "=", "5201").stdout, 5, "iperf3 does not listen")
        done = bed.run(client, "iperf3", "-J", "-c", address, "-p", "5201", "-t", seconds, "-P", streams,
                       *(["-R"] if reverse else []), "--connect-timeout", "5000", timeout=seconds + 30)
        listening.wait(10)
    report = json.loads(done.stdout or "{}")
    if done.returncode != 0 or "error" in report:
        raise AssertionError(f"iperf3: {report.get('error', done.stderr)}")
    return report["end"]["sum_received"]["bits_per_second"]
