#!/usr/bin/python3
"""scripts/lab and scripts/quickstart as their users meet them."""

import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import unittest

import bed as b

LAB = str(b.ROOT / "scripts/lab")
QUICKSTART = str(b.ROOT / "scripts/quickstart")


def lab(*words, timeout=60):
    return subprocess.run([LAB, *words], capture_output=True, text=True, timeout=timeout, check=False)


OURS = ("t-", "quickstart")  # names of the labs that these tests make; another lab may be up beside them


def traces():
    """What a lab could leave behind on this machine."""
    netns = pathlib.Path("/run/netns")
    mounts = [line.split()[1] for line in pathlib.Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    return {
        "namespaces": [entry.name for entry in netns.glob("culvert-*") if entry.name[8:].startswith(OURS)],
        "mounts": [mount for mount in mounts
                   if mount.startswith("/run/netns/culvert-") and mount[19:].startswith(OURS)],
        "/run/netns": netns.exists(),
        "interfaces": sorted(os.listdir("/sys/class/net")),
        "state": [entry.name for entry in b.p.STATE_ROOT.glob("*") if entry.name.startswith(OURS)],
        "huge pages": b.system.HUGE_PAGES.read_text(encoding="ascii") if b.system.HUGE_PAGES.exists() else "",
        "sysctls": subprocess.run(["sysctl", "-a", "--pattern", r"^net\.(ipv4\.ip_forward|ipv6\.conf|bridge)"],
                                  capture_output=True, text=True, check=False).stdout,
        "processes": sorted(words for words in _command_lines()
                            if re.search(r"/run/culvert-lab/(t-|quickstart)|supervisor.py (t-|quickstart)", words)),
    }


def _command_lines():
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                yield pathlib.Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                pass


class Lab(unittest.TestCase):
    def test_down_leaves_nothing_and_may_be_said_twice(self):
        before = traces()
        self.addCleanup(lab, "down", "--name", "t-trace")
        up = lab("up", "--name", "t-trace", "--bin", b.BIN)
        self.assertEqual(up.returncode, 0, up.stderr)
        self.assertIn("is up", up.stdout)
        # Something that a user forgot.
        with subprocess.Popen([LAB, "exec", "--name", "t-trace", "n1-p1", "--", "sleep", "1000"]) as forgotten:
            time.sleep(0.5)
            down = lab("down", "--name", "t-trace")
            forgotten.wait(10)
        self.assertEqual(down.returncode, 0, down.stderr)
        self.assertEqual(traces(), before)
        again = lab("down", "--name", "t-trace")
        self.assertEqual(again.returncode, 0)
        self.assertIn("nothing to take down", again.stdout)

    def test_a_second_lab_does_not_disturb_a_first(self):
        for name in ("t-one", "t-two"):
            self.addCleanup(lab, "down", "--name", name)
            up = lab("up", "--name", name, "--bin", b.BIN, "--no-huge")
            self.assertEqual(up.returncode, 0, up.stderr)
        first = b.Lab.open("t-one")
        one, two = (json.loads(lab("status", "--name", name, "-o", "json").stdout) for name in ("t-one", "t-two"))
        self.assertEqual(lab("down", "--name", "t-two").returncode, 0)
        self.assertEqual(json.loads(lab("status", "--name", "t-one", "-o", "json").stdout), one)
        self.assertFalse({node["netns"] for node in one["nodes"]} & {node["netns"] for node in two["nodes"]})
        for pod in b.p.PODS.values():
            self.assertTrue(first.answers(pod.name, pod.gateways[0]))

    def test_status_has_the_documented_shape_and_tells_the_truth(self):
        self.addCleanup(lab, "down", "--name", "t-status")
        up = lab("up", "--name", "t-status", "--bin", b.BIN, "--no-huge")
        self.assertEqual(up.returncode, 0, up.stderr)
        status = json.loads(lab("status", "--name", "t-status", "-o", "json").stdout)
        self.assertEqual(sorted(status), ["nodes", "pods", "wire"])
        self.assertEqual([node["name"] for node in status["nodes"]], ["n1", "n2"])
        for node in status["nodes"]:
            self.assertEqual(sorted(node),
                             ["admin", "config", "control_socket", "name", "netns", "pids", "trust_bundle"])
            self.assertTrue(os.path.exists(node["config"]))
            self.assertTrue(os.path.exists(node["control_socket"]))
            self.assertIn("BEGIN CERTIFICATE", pathlib.Path(node["trust_bundle"]).read_text(encoding="ascii"))
            for program, pid in node["pids"].items():
                self.assertIn(f"culvert-{program}", os.readlink(f"/proc/{pid}/exe"))
                self.assertEqual(os.stat(f"/proc/{pid}/ns/net").st_ino, os.stat(f"/run/netns/{node['netns']}").st_ino)
        self.assertEqual([pod["name"] for pod in status["pods"]], ["n1-p1", "n1-p2", "n2-p1", "n2-p2"])
        for pod in status["pods"]:
            self.assertEqual(sorted(pod), ["addresses", "identity", "name", "netns", "node"])
            shown = subprocess.run(["ip", "-n", pod["netns"], "address", "show", "dev", "eth0"], capture_output=True,
                                   text=True, check=True).stdout
            for address in pod["addresses"]:
                self.assertIn(address, shown)
        wire = subprocess.run(["ip", "-n", status["wire"]["netns"], "link", "show", status["wire"]["interface"]],
                              capture_output=True, text=True, check=False)
        self.assertEqual(wire.returncode, 0)

        # exec passes on output and status; kill keeps a program down as long as it says; logs show both programs.
        done = lab("exec", "--name", "t-status", "n2-p1", "--", "sh", "-c", "echo here; exit 7")
        self.assertEqual((done.returncode, done.stdout), (7, "here\n"))
        killed = lab("kill", "--name", "t-status", "n1", "agent", "--hold", "5")
        self.assertEqual(killed.returncode, 0, killed.stderr)

        def pids():
            return json.loads(lab("status", "--name", "t-status", "-o", "json").stdout)["nodes"][0]["pids"]

        self.assertEqual(pids(), {"agent": None, "dataplane": status["nodes"][0]["pids"]["dataplane"]})
        b.wait_for(lambda: pids()["agent"], 15, "the agent was not started again")
        logs = lab("logs", "--name", "t-status", "n1").stdout
        self.assertIn("==> dataplane <==", logs)
        self.assertIn("==> agent <==", logs)
        twice = lab("up", "--name", "t-status", "--bin", b.BIN)
        self.assertEqual(twice.returncode, 1)
        self.assertIn("up already", twice.stderr)

    def test_what_is_not_built_is_refused_in_one_sentence(self):
        self.addCleanup(lab, "down", "--name", "t-refuse")
        for words in (["--pods", "packet"], ["--uplink", "packet"], ["--workers", "2"]):
            with self.subTest(" ".join(words)):
                done = lab("up", "--name", "t-refuse", "--bin", b.BIN, *words)
                self.assertEqual(done.returncode, 1)
                self.assertEqual(len(done.stderr.strip().splitlines()), 1)
                self.assertIn("not built yet", done.stderr)
                self.assertFalse((b.p.STATE_ROOT / "t-refuse").exists())

    def test_a_control_plane_that_cannot_be_one_is_refused_in_one_sentence(self):
        self.addCleanup(lab, "down", "--name", "t-refuse")
        for words, sentence in ((["--istiod", "somewhere"], "`fake` or ADDR:PORT is accepted"),
                                (["--istiod", "127.0.0.1:1"], "needs --istiod-root FILE"),
                                (["--istiod-root", __file__], "belong to --istiod ADDR:PORT"),
                                (["--istiod", "127.0.0.1:1", "--istiod-root", "/nowhere"], "/nowhere does not exist"),
                                (["--istiod", "127.0.0.1:1", "--istiod-root", __file__, "--mesh", __file__],
                                 "the mesh of --istiod ADDR:PORT comes from there")):
            with self.subTest(" ".join(words)):
                done = lab("up", "--name", "t-refuse", "--bin", b.BIN, *words)
                self.assertEqual(done.returncode, 1)
                self.assertEqual(len(done.stderr.strip().splitlines()), 1)
                self.assertIn(sentence, done.stderr)
                self.assertFalse((b.p.STATE_ROOT / "t-refuse").exists())

    def test_a_control_plane_of_this_machine_is_reached_through_the_relay(self):
        folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        (folder / "mesh.yaml").write_text(b.configs.mesh_yaml(), encoding="utf-8")
        istiod = subprocess.Popen([f"{b.BIN}/culvert-fake-istiod", "--listen", "127.0.0.1:0", "--mesh",
                                   folder / "mesh.yaml", "--out", folder], stdin=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True)
        self.addCleanup(istiod.stderr.close)
        self.addCleanup(istiod.wait)
        self.addCleanup(istiod.kill)
        where = re.search(r"https://(127\.0\.0\.1:\d+)", istiod.stderr.readline()).group(1)
        self.addCleanup(lab, "down", "--name", "t-relay")
        up = lab("up", "--name", "t-relay", "--bin", b.BIN, "--no-huge", "--istiod", where, "--istiod-root",
                 str(folder / "root-cert.pem"), "--token", str(folder / "istio-token"))
        self.assertEqual(up.returncode, 0, up.stderr)
        status = f"{b.p.STATE_ROOT}/t-relay/n1/control.sock"

        def valid():
            shown = subprocess.run([f"{b.BIN}/culvertctl", "--socket", status, "status", "-o", "json"],
                                   capture_output=True, text=True, check=True).stdout
            return [row for row in json.loads(shown)["certificates"] if row["state"].lower() == "valid"]

        b.wait_for(lambda: len(valid()) == 2, 15, "node 1 has no certificates")

    def test_a_lab_that_cannot_come_up_says_why_and_leaves_nothing(self):
        before = traces()
        self.addCleanup(lab, "down", "--name", "t-broken")
        broken = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory())) / "n1.yaml"
        broken.write_text("workers: {cuont: 1}\n", encoding="ascii")
        done = lab("up", "--name", "t-broken", "--bin", b.BIN, "--no-huge", "--config-dir", str(broken.parent))
        self.assertEqual(done.returncode, 1)
        self.assertIn("cuont", done.stdout)
        self.assertIn("did not come up", done.stderr)
        self.assertEqual(traces(), before)

    def test_an_interrupted_up_leaves_nothing(self):
        before = traces()
        with subprocess.Popen([LAB, "up", "--name", "t-stop", "--bin", b.BIN], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            b.wait_for(lambda: (b.p.STATE_ROOT / "t-stop/lab.json").exists(), 10, "up does not begin")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
        self.assertEqual(traces(), before)


class Quickstart(unittest.TestCase):
    def test_it_tells_what_happened_and_leaves_nothing(self):
        before = traces()
        started = time.monotonic()
        done = subprocess.run([QUICKSTART, "--bin", b.BIN], capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertLess(time.monotonic() - started, 30)
        self.assertIn("network namespaces", done.stdout.splitlines()[0])
        for pod in ("n1-p1", "n2-p1"):
            self.assertIn(b.p.PODS[pod].identity, done.stdout)
        self.assertIn("15008", done.stdout)
        self.assertIn("TLS 1.3", done.stdout)
        self.assertEqual(traces(), before)

    def test_kept_it_stays_until_it_is_taken_down(self):
        self.addCleanup(lab, "down", "--name", "quickstart")
        done = subprocess.run([QUICKSTART, "--bin", b.BIN, "--keep"], capture_output=True, text=True, timeout=120,
                              check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        kept = b.Lab.open("quickstart")
        self.assertTrue(kept.answers("n1-p1", "10.1.0.1"))
        self.assertTrue((kept.plan.state / "captures/wire.pcap").exists())
        self.assertEqual(lab("down", "--name", "quickstart").returncode, 0)

    def test_ctrl_c_stops_it_cleanly(self):
        before = traces()
        with subprocess.Popen([QUICKSTART, "--bin", b.BIN], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            b.wait_for(lambda: (b.p.STATE_ROOT / "quickstart/lab.json").exists(), 10, "it does not begin")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=30)
        self.assertNotEqual(process.returncode, 0)
        self.assertEqual(traces(), before)

    def test_without_root_it_says_so_first(self):
        done = subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", QUICKSTART],
                              capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn("root", done.stderr)
        self.assertNotIn("building", done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
