"""A lab's life: up, down, and what one asks of it in between."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time

from labkit import configs, control_plane, lab_state, supervisor, system, wire
from labkit import plan as p
from labkit.system import LabError, run

UP_SECONDS = 30
# A program that was started that often meanwhile will not stay.
STARTS_MAX = 6
# 2 MB pages for both nodes' packet buffers, and what EAL keeps beside them.
HUGE_PAGES = len(p.NODES) * (configs.BUFFERS_MB + 64) // 2
LOG_TAIL_LINES = 12


class Lab:
    def __init__(self, plan):
        self.plan = plan

    @classmethod
    def open(cls, name):
        """The lab of this name that is up; LabError if there is none."""
        return cls(lab_state.load(name))

    # Up and down

    def up(self, say=print, keep_broken=False):
        """Builds and starts everything; returns when every pod answers. On failure nothing is left, and the LabError
        says what was wrong."""
        plan = self.plan
        control_plane.check(plan)
        names = ["culvert-dataplane", "culvert-agent", "culvertctl"]
        names += ["culvert-fake-istiod"] if plan.istiod == "fake" else []
        system.check_machine([plan.program(name) for name in names])
        try:
            with system.lab_lock():
                if lab_state.exists(plan.name):
                    raise LabError(f"lab '{plan.name}' is up already: take it down first "
                                   f"(scripts/lab down --name {plan.name})")
                plan.state.mkdir(mode=0o755)
                self._build(say)
            self._start()
            self._wait(say)
        except BaseException:
            if lab_state.exists(plan.name) and not keep_broken and not _is_already_up(sys.exc_info()[1]):
                self.down()
            raise

    def _build(self, say):
        plan = self.plan
        pages = HUGE_PAGES if plan.huge_pages else 0
        if pages and not system.reserve_huge_pages(pages):
            say(f"lab: the kernel has no {pages} huge pages of 2 MB to spare; going on without")
            self.plan = plan = p.Plan(**{**vars(plan), "huge_pages": False})
            pages = 0
        lab_state.save(plan, huge_pages=pages)
        for place in plan.places:
            system.add_netns(plan.netns(place))
        wire.build(plan)
        control_plane.build(plan)
        self._write_files()
        if not plan.istiod:
            run(plan.program("culvertctl"), "ca", "init", plan.ca_dir)

    def _write_files(self):
        plan = self.plan
        if plan.mesh:
            shutil.copyfile(plan.mesh, plan.mesh_file)
        else:
            plan.mesh_file.write_text(configs.mesh_yaml(), encoding="utf-8")
        control_plane.write_files(plan)
        for node in p.NODES:
            plan.node_dir(node).mkdir()
            text = configs.culvert_yaml(plan, node)
            if plan.config_dir:
                with contextlib.suppress(FileNotFoundError), \
                        open(f"{plan.config_dir}/{node}.yaml", encoding="utf-8") as own:
                    text = configs.with_sections(text, own.read())
            plan.config(node).write_text(text, encoding="utf-8")

    def _start(self):
        log = open(self.plan.state / "supervisor.log", "ab")
        with log:
            subprocess.Popen([sys.executable, "-B", supervisor.__file__, self.plan.name], stdin=subprocess.DEVNULL,
                             stdout=log, stderr=log, start_new_session=True, cwd="/")

    def _wait(self, say):
        deadline = time.monotonic() + UP_SECONDS
        missing = "the supervisor has not started"
        while time.monotonic() < deadline:
            missing = self._hopeless()
            if missing is not None:
                break
            missing = self._missing()
            if missing is None:
                return
            time.sleep(0.2)
        say(self.log_tail())
        raise LabError(f"lab '{self.plan.name}' did not come up (see above): {missing}")

    def _hopeless(self):
        """A program that ends again and again, in one sentence; None if there is none."""
        with contextlib.suppress(LabError):
            for node, programs in self.ask({"do": "status"}).items():
                for name, program in programs.items():
                    if program["starts"] >= STARTS_MAX:
                        return f"culvert-{name} of {node} was started {program['starts']} times and does not stay"
        return None

    def _missing(self):
        """What the lab is still waiting for, in one sentence; None when it is complete."""
        try:
            self.ask({"do": "status"})
        except LabError as error:
            return str(error)
        for node in p.NODES:
            if not self.plan.control_socket(node).exists():
                return f"the data plane of {node} does not serve {self.plan.control_socket(node)}"
            missing = self._missing_certificates(node)
            if missing:
                return missing
        for pod in p.PODS.values():
            link = run("ip", "-n", self.plan.netns(pod.name), "-br", "link", "show", "dev", "eth0", check=False)
            if not link:
                return f"the agent of {pod.node} has not made eth0 in pod {pod.name}"
            for gateway in pod.gateways:
                if not self.answers(pod.name, gateway):
                    return f"gateway {gateway} does not answer pod {pod.name}"
        return None

    def _missing_certificates(self, node):
        try:
            status = self.ctl(node, "status")
        except LabError as error:
            return f"{node}: {error}"
        valid = {row["identity"] for row in status.get("certificates", []) if row.get("state", "").lower() == "valid"}
        wanted = {pod.identity for pod in p.PODS.values() if pod.node == node}
        ours = not self.plan.mesh and self.plan.istiod in ("", "fake")
        if ours and not wanted <= valid:
            return f"{node} has no certificate for {', '.join(sorted(wanted - valid))}"
        return None

    def answers(self, place, address):
        done = subprocess.run(system.inside_command(self.plan.netns_path(place),
                                                    ["ping", "-n", "-q", "-c", "1", "-W", "1", address]),
                              capture_output=True, check=False)
        return done.returncode == 0

    def down(self):
        """Takes everything away, also of a lab that is half up. Safe to call twice."""
        plan = self.plan
        with system.undisturbed(), system.lab_lock():
            if not lab_state.exists(plan.name):
                return
            try:
                kept = lab_state.kept(plan.name)
            except LabError:
                kept = {}
            with contextlib.suppress(LabError):
                self.ask({"do": "stop"}, timeout=10)
            paths = [plan.netns_path(place) for place in plan.places]
            system.end_processes(lambda: system.processes_in(paths) + self._supervisors())
            for place in plan.places:
                system.delete_netns(plan.netns(place))
            if kept.get("huge_pages"):
                system.release_huge_pages(kept["huge_pages"])
            shutil.rmtree(plan.state)
            system.leave_no_netns_mount()
            with contextlib.suppress(OSError):
                p.STATE_ROOT.rmdir()  # the last lab

    def _supervisors(self):
        """Process ids of this lab's supervisor, found by its command line."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                with contextlib.suppress(OSError), open(f"/proc/{entry}/cmdline", "rb") as handle:
                    words = handle.read().decode(errors="replace").split("\0")
                    if supervisor.__file__ in words and self.plan.name in words:
                        found.append(int(entry))
        return found

    # Between up and down

    def ask(self, request, timeout=5):
        """One request to the supervisor, and its answer."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as channel:
            channel.settimeout(timeout)
            try:
                channel.connect(str(self.plan.supervisor_socket))
                channel.sendall(json.dumps(request).encode() + b"\n")
                with channel.makefile("rb") as stream:
                    answer = json.loads(stream.readline())
            except (OSError, ValueError) as error:
                raise LabError(f"the supervisor of lab '{self.plan.name}' does not answer ({error}); "
                               f"see {self.plan.state}/supervisor.log") from None
        if "error" in answer:
            raise LabError(answer["error"])
        return answer

    def kill(self, node, program, hold=0.0):
        """kill -9; the supervisor keeps it down for `hold` seconds. Returns the process id."""
        return self.ask({"do": "kill", "node": node, "program": program, "hold": hold})["pid"]

    def ctl(self, node, *words):
        """culvertctl's answer about a node, from its JSON."""
        text = run(self.plan.program("culvertctl"), "--socket", self.plan.control_socket(node), *words, "-o", "json")
        return json.loads(text)

    def command(self, place, *words):
        """The command line that runs `words` in a pod, on a node, on the wire or outside."""
        if place not in self.plan.places:
            raise LabError(f"there is no '{place}' in this lab: {', '.join(self.plan.places)}")
        return system.inside_command(self.plan.netns_path(place), list(words))

    def log_file(self, node, program):
        return self.plan.node_dir(node) / f"{program}.log"

    def log_tail(self):
        """The last lines of every log, for whoever has to find out why a lab does not come up."""
        parts = []
        logs = [(f"{node} {name}", self.log_file(node, name)) for node in p.NODES for name in supervisor.PROGRAMS]
        if self.plan.istiod:
            logs.append((p.ISTIOD, self.plan.istiod_dir / f"{p.ISTIOD}.log"))
        for label, path in [*logs, ("supervisor", self.plan.state / "supervisor.log")]:
            with contextlib.suppress(OSError):
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_TAIL_LINES:]
                parts.append(f"==> {label} <==\n" + "\n".join(lines))
        return "\n".join(parts)

    def status(self):
        """The lab as test-interfaces.md section 5 shows it."""
        programs = self.ask({"do": "status"})
        plan = self.plan
        nodes = [{"name": node, "netns": plan.netns(node),
                  "pids": {name: programs[node][name]["pid"] for name in supervisor.PROGRAMS},
                  "config": str(plan.config(node)), "admin": p.ADMIN, "control_socket": str(plan.control_socket(node)),
                  "trust_bundle": str(self.trust_bundle)} for node in p.NODES]
        pods = [{"name": pod.name, "node": pod.node, "netns": plan.netns(pod.name), "addresses": list(pod.addresses),
                 "identity": pod.identity} for pod in p.PODS.values()]
        wire_place = None if plan.uplink == "memif" else {"netns": plan.netns("wire"), "interface": p.BRIDGE}
        return {"nodes": nodes, "pods": pods, "wire": wire_place}

    @property
    def trust_bundle(self):
        return (self.plan.istiod_dir if self.plan.istiod else self.plan.ca_dir) / control_plane.ROOT


def _is_already_up(error):
    return isinstance(error, LabError) and "is up already" in str(error)
