"""Keeps the programs of a lab running: one process per lab.

Each node's culvert-dataplane and culvert-agent run in the node's namespace, and what stands in istiod's place, if the
lab has one, beside them. One that ends is started again: at once
when it had run for a while, otherwise after a pause that doubles up to PAUSE_MAX. Their output goes to one log file
each, bounded by rotation. If the supervisor itself is killed, the kernel ends its programs.

It listens on a Unix socket for one JSON object per connection and answers with one:
    {"do": "status"}                                       → {"n1": {"dataplane": {"pid": 1, "starts": 1}, …}, …}
    {"do": "kill", "node": "n1", "program": "agent", "hold": 2.5}   kill -9, kept down that long → {"pid": 1}
    {"do": "stop"}                                         SIGTERM, then SIGKILL; answers {} when all are gone
"""

import asyncio
import contextlib
import ctypes
import datetime
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from labkit import control_plane, lab_state, system, wire  # noqa: E402  (the path has to be set first)
from labkit import plan as p  # noqa: E402

PROGRAMS = ("dataplane", "agent")

PAUSE_MIN = 0.1  # seconds before the first restart: new connections work again within seconds of a kill
PAUSE_MAX = 5.0
SETTLED = 10.0   # a program that ran this long starts again with the shortest pause

LOG_BYTES_MAX = 8 << 20  # per file; one older file is kept beside it
STOP_PATIENCE = 3.0

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)


def _die_with_supervisor():
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Log:
    """A file that is moved aside to NAME.1 when it is full."""

    def __init__(self, path):
        self._path = path
        self._file = open(path, "ab", buffering=0)
        self._bytes = self._file.tell()

    def write(self, data):
        if self._bytes + len(data) > LOG_BYTES_MAX and self._bytes > 0:
            self._file.close()
            os.replace(self._path, f"{self._path}.1")
            self._file = open(self._path, "ab", buffering=0)
            self._bytes = 0
        self._file.write(data)
        self._bytes += len(data)

    def say(self, text):
        stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self.write(f"{stamp}\tinfo\tsupervisor\t{text}\n".encode())


class Program:
    """One program, kept running; its output goes to `folder`/`name`.log, its input comes from the pipe `steps`."""

    def __init__(self, label, command, folder, name, own_log, steps=None):
        self.label = label
        self._command = command
        self._folder = folder
        self._log = Log(self._folder / f"{name}.log")
        self._own_log = own_log
        # Opened for both, so that it neither waits for a writer nor ends with one.
        self._input = os.open(steps, os.O_RDWR | os.O_CLOEXEC) if steps else subprocess.DEVNULL
        self._process = None
        self._started = 0.0
        self._held_until = 0.0
        self._stopping = False
        self.starts = 0

    @property
    def pid(self):
        return self._process.pid if self._process is not None else None

    async def keep_running(self):
        pause = PAUSE_MIN
        while not self._stopping:
            held = self._held_until - time.monotonic()
            if held > 0:
                await asyncio.sleep(held)
                continue
            await self._run_once()
            if self._stopping:
                break
            pause = PAUSE_MIN if time.monotonic() - self._started > SETTLED else min(pause * 2, PAUSE_MAX)
            await asyncio.sleep(pause)

    async def _run_once(self):
        read_end, write_end = os.pipe()
        os.set_blocking(read_end, False)
        self._started = time.monotonic()
        try:
            self._process = subprocess.Popen(self._command, stdin=self._input, stdout=write_end,
                                             stderr=write_end, cwd=self._folder, start_new_session=True,
                                             preexec_fn=_die_with_supervisor)
        finally:
            os.close(write_end)
        self.starts += 1
        self._own_log.say(f"{self.label} started as process {self._process.pid}")
        loop = asyncio.get_running_loop()
        ended = loop.create_future()
        watch = os.pidfd_open(self._process.pid)
        loop.add_reader(read_end, self._take_output, read_end)
        loop.add_reader(watch, lambda: ended.done() or ended.set_result(None))
        try:
            await ended
        finally:
            loop.remove_reader(watch)
            os.close(watch)
            self._take_output(read_end)
            loop.remove_reader(read_end)
            os.close(read_end)
        status = self._process.wait()
        what = f"signal {-status}" if status < 0 else f"status {status}"
        self._own_log.say(f"{self.label} (process {self._process.pid}) ended with {what}")
        self._process = None

    def _take_output(self, descriptor):
        with contextlib.suppress(BlockingIOError):
            while data := os.read(descriptor, 65536):
                self._log.write(data)
            asyncio.get_running_loop().remove_reader(descriptor)  # every writer has closed its end

    def kill(self, hold):
        """kill -9, and no restart for `hold` seconds. Returns the process id that was killed, None if it was down."""
        self._held_until = time.monotonic() + hold
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        return pid

    def stop(self):
        self._stopping = True
        if self._process is not None:
            self._process.terminate()

    def stop_hard(self):
        if self._process is not None:
            self._process.kill()


class Supervisor:
    def __init__(self, plan):
        self._plan = plan
        self._log = Log(plan.state / "supervisor.log")
        self._programs = {node: {name: self._program(node, name) for name in PROGRAMS} for node in p.NODES}
        if plan.istiod:
            self._programs[p.ISTIOD] = {
                p.ISTIOD: Program(p.ISTIOD, control_plane.command(plan), plan.istiod_dir, p.ISTIOD, self._log,
                                  plan.istiod_steps if plan.istiod == "fake" else None)}
        self._keeper = wire.Keeper(wire.late_ports(plan))
        self._stop = asyncio.Event()

    def _program(self, node, name):
        plan = self._plan
        command = system.inside_command(
            plan.netns_path(node), [plan.program(f"culvert-{name}"), "--config", str(plan.config(node))])
        return Program(f"{node} {name}", command, plan.node_dir(node), name, self._log)

    def _all(self):
        return [program for programs in self._programs.values() for program in programs.values()]

    async def run(self):
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        for descriptor in self._keeper.descriptors:
            loop.add_reader(descriptor, self._settle_wire)
        self._settle_wire()
        server = await asyncio.start_unix_server(self._answer, path=str(self._plan.supervisor_socket))
        tasks = [asyncio.create_task(program.keep_running()) for program in self._all()]
        await self._stop.wait()
        await self._end_programs(tasks)
        self._log.say("stopped")
        server.close()
        await asyncio.sleep(0.05)  # the answer to "stop" leaves first

    async def _end_programs(self, tasks):
        for program in self._all():
            program.stop()
        _, late = await asyncio.wait([asyncio.create_task(self._until_gone())], timeout=STOP_PATIENCE)
        if late:
            for program in self._all():
                program.stop_hard()
            await asyncio.wait(late, timeout=STOP_PATIENCE)
        for task in tasks:
            task.cancel()

    async def _until_gone(self):
        while any(program.pid is not None for program in self._all()):
            await asyncio.sleep(0.02)

    def _settle_wire(self):
        for sentence in self._keeper.settle():
            self._log.say(sentence)

    async def _answer(self, reader, writer):
        try:
            request = json.loads(await reader.readline())
            reply = await self._do(request)
        except (ValueError, KeyError, TypeError) as error:
            reply = {"error": f"not a request: {error}"}
        writer.write(json.dumps(reply).encode() + b"\n")
        with contextlib.suppress(ConnectionError):
            await writer.drain()
        writer.close()

    async def _do(self, request):
        if request["do"] == "status":
            return {node: {name: {"pid": program.pid, "starts": program.starts}
                           for name, program in programs.items()}
                    for node, programs in self._programs.items()}
        if request["do"] == "kill":
            program = self._programs[request["node"]][request["program"]]
            pid = program.kill(float(request.get("hold", 0)))
            while pid is not None and program.pid == pid:  # the kernel ends it, in its own time
                await asyncio.sleep(0.005)
            return {"pid": pid}
        if request["do"] == "stop":
            self._stop.set()
            await self._until_gone()
            return {}
        raise ValueError(f"unknown request {request['do']!r}")


def main(arguments):
    plan = lab_state.load(arguments[0])
    asyncio.run(Supervisor(plan).run())


if __name__ == "__main__":
    main(sys.argv[1:])
