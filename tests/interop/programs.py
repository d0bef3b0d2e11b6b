"""Child processes of interoperation tests: started, watched through their standard error, and always ended."""

import json
import os
import pathlib
import re
import socket
import subprocess
import threading
import time

WAIT_S = 60
BIN = pathlib.Path(os.environ["CULVERT_BIN"])


class Program:
    """A child whose standard error and output are collected by threads."""

    def __init__(self, *command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE):
        self.process = subprocess.Popen([str(c) for c in command], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE)
        self.stdout, self.stderr = bytearray(), bytearray()
        # Without a listener, culvert-hbone's standard output is the bytes it carries.
        self.reports = (self.stdout, self.stderr) if "--listen" in command else (self.stderr,)
        self.readers = [threading.Thread(target=self._collect, args=pair, daemon=True)
                        for pair in ((self.process.stdout, self.stdout), (self.process.stderr, self.stderr)) if pair[0]]
        for reader in self.readers:
            reader.start()

    @staticmethod
    def _collect(pipe, into):
        while chunk := pipe.read1(1 << 16):
            into += chunk

    def wait_for(self, pattern):
        """The match of `pattern` in standard error, as soon as it is there."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            if found := re.search(pattern, bytes(self.stderr)):
                return found
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise AssertionError(f"{pattern} not in {bytes(self.stderr)}")

    def port(self):
        return int(self.wait_for(rb"listening on \S*:(\d+)\n")[1])

    def finish(self):
        """Waits until it ends by itself; its exit status."""
        status = self.process.wait(WAIT_S)
        for reader in self.readers:
            reader.join(WAIT_S)
        return status

    def lines(self, kind):
        """The JSON lines of that kind."""
        text = b"".join(bytes(output) for output in self.reports).decode(errors="replace")
        found = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return [line for line in found if line["kind"] == kind]

    def wait_for_lines(self, kind, count):
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            if len(found := self.lines(kind)) >= count:
                return found
            time.sleep(0.02)
        raise AssertionError(f"{len(self.lines(kind))} {kind} lines of {count}: {bytes(self.stderr)[-500:]}")

    def terminate(self):
        self.process.terminate()
        return self.finish()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for reader in self.readers:
            reader.join()
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            if pipe:
                pipe.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def wait_for_port(port, program):
    until = time.monotonic() + WAIT_S
    while time.monotonic() < until and program.process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"nobody listens on {port}: {bytes(program.stderr)[-1000:]}")
