#!/usr/bin/python3
"""What operators get wrong: each is told in a sentence with file and line or what to do, and nothing else suffers."""

import os
import pathlib
import subprocess
import tempfile
import time
import unittest

import bed as b

BED = None


def setUpModule():
    global BED
    BED = b.Bed.up("bad-input")


def tearDownModule():
    BED.down()


class AtStart(unittest.TestCase):
    """Each program is started by hand with something wrong; it must end by itself, soon, and say why."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="culvert-bad-")
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.text = (b.configs.culvert_yaml(BED.plan, "n1")
                     .replace(str(BED.plan.node_dir("n1")), str(self.folder)))

    def start(self, program, text, *before):
        """Runs a program until it ends; returns its status and output. AssertionError if it keeps running."""
        config = self.folder / "culvert.yaml"
        config.write_text(text, encoding="utf-8")
        command = [*before, f"{b.BIN}/{program}", "--config", str(config)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False, cwd=self.folder)
        except subprocess.TimeoutExpired as running:
            raise AssertionError(f"{program} goes on: {running.stdout} {running.stderr}") from None
        return done.returncode, done.stdout + done.stderr

    def line_of(self, text, part):
        return next(number for number, line in enumerate(text.splitlines(), start=1) if part in line)

    def test_a_wrong_value_is_refused_with_file_line_and_what_is_accepted(self):
        wrong = [
            # (what stands in the generated file, what stands there instead, words of the answer)
            ("buffers_mb: 128", "bufers_mb: 128", ["bufers_mb", "buffers_mb"]),
            ("huge_pages: never", "huge_pages: sometimes", ["sometimes", "auto", "always", "never"]),
            ("count: 1", "count: many", ["workers.count", "many"]),
            ("role: uplink", "role: pods", ["role", "uplink"]),
            ("driver: tap", "driver: pigeon", ["pigeon", "tap", "ethdev"]),
            ("10.9.0.11/8", "10.9.0.11/99", ["10.9.0.11/99"]),
            ("level: info", "level: loud", ["loud", "info"]),
        ]
        text = self.text.replace("huge_pages: always", "huge_pages: never")
        for program in ("culvert-dataplane", "culvert-agent"):
            for right, instead, words in wrong:
                with self.subTest(f"{program}, {instead}"):
                    self.assertIn(right, text)
                    changed = text.replace(right, instead, 1)
                    status, output = self.start(program, changed)
                    self.assertNotEqual(status, 0)
                    self.assertIn(f"culvert.yaml:{self.line_of(changed, instead)}:", output)
                    for word in words:
                        self.assertIn(word, output)

    def test_a_missing_file_is_named(self):
        for program in ("culvert-dataplane", "culvert-agent"):
            with self.subTest(program):
                done = subprocess.run([f"{b.BIN}/{program}", "--config", "/nonexistent/culvert.yaml"],
                                      capture_output=True, text=True, timeout=10, check=False)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn("/nonexistent/culvert.yaml", done.stdout + done.stderr)

    def test_a_socket_in_use_is_named(self):
        text = self.text.replace(f"socket: {self.folder}/control.sock",
                                 f"socket: {BED.plan.control_socket('n1')}").replace("huge_pages: always",
                                                                                    "huge_pages: never")
        status, output = self.start("culvert-dataplane", text)
        self.assertNotEqual(status, 0)
        self.assertIn(str(BED.plan.control_socket("n1")), output)
        self.assertTrue(BED.lab.ctl("n1", "status"), "the one that runs is not disturbed")

    def test_huge_pages_that_do_not_exist_are_named(self):
        pool = b.system.HUGE_PAGES
        if not pool.exists():
            self.fail("this kernel has no 2 MB huge pages at all: run the tests on one that has")
        text = self.text.replace("huge_pages: never", "huge_pages: always").replace("buffers_mb: 128",
                                                                                     "buffers_mb: 65536")
        status, output = self.start("culvert-dataplane", text)
        self.assertNotEqual(status, 0)
        self.assertIn("huge", output)

    def test_a_dpdk_device_that_does_not_exist_is_named(self):
        head, _, rest = self.text.partition("    driver: tap\n")
        rest = rest.split("\n", 2)[2]  # netns and device belong to tap
        text = (head + '    driver: ethdev\n    devargs: "net_af_xdp0,iface=nobody0"\n' + rest).replace(
            "huge_pages: always", "huge_pages: never")
        status, output = self.start("culvert-dataplane", text)
        self.assertNotEqual(status, 0)
        self.assertIn("net_af_xdp0,iface=nobody0", output)

    def test_an_agent_without_capabilities_says_which_it_needs(self):
        status, output = self.start("culvert-agent", self.text, "setpriv", "--bounding-set=-all", "--inh-caps=-all")
        self.assertNotEqual(status, 0)
        self.assertRegex(output, "CAP_(NET|SYS)_ADMIN|capabilit")


class AtReload(unittest.TestCase):
    def setUp(self):
        server = BED.server("n2-p1", 7601, b.echo)
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)
        self.addCleanup(lambda: BED.write_mesh(b.configs.mesh_yaml()))
        self.addCleanup(lambda: BED.write_config("n1", b.configs.culvert_yaml(BED.plan, "n1")))

    def assertWorks(self):
        with BED.connect("n1-p1", "10.2.0.11", 7601) as stream:
            stream.sendall(b"?")
            self.assertEqual(b.receive_exactly(stream, 1), b"?")

    def test_a_bad_mesh_file_is_refused_with_file_and_line_and_what_was_in_force_stays(self):
        self.assertWorks()
        before = BED.mesh_versions()
        good = b.configs.mesh_yaml()
        bad = good.replace("protocol: HBONE", "protocol: PIGEON", 1)
        line = next(number for number, text in enumerate(bad.splitlines(), start=1) if "PIGEON" in text)
        BED.write_mesh(bad)
        for node in b.p.NODES:
            told = b.wait_for(lambda node=node: [text for text in BED.log(node, "agent").splitlines()
                                                 if f"mesh.yaml:{line}:" in text], 5,
                              f"the agent of {node} does not name mesh.yaml:{line}")
            self.assertIn("HBONE", told[0])
        self.assertEqual(BED.mesh_versions(), before)
        self.assertWorks()

    def test_a_bad_culvert_yaml_is_refused_and_the_pods_stay_attached(self):
        self.assertWorks()
        text = b.configs.culvert_yaml(BED.plan, "n1")
        bad = text.replace("workload: demo/n1-p1", "wrkload: demo/n1-p1")
        line = next(number for number, words in enumerate(bad.splitlines(), start=1) if "wrkload" in words)
        BED.write_config("n1", bad)
        b.wait_for(lambda: f"culvert.yaml:{line}:" in BED.log("n1", "agent"), 5,
                   f"the agent does not name culvert.yaml:{line}")
        time.sleep(0.5)
        self.assertWorks()
        self.assertTrue(BED.lab.answers("n1-p1", "10.1.0.1"))


class FromOutside(unittest.TestCase):
    """Packets and streams that are wrong are counted under a name and disturb nobody."""

    def drops(self, node):
        return {row["name"]: int(row["value"]) for row in BED.lab.ctl(node, "drops")}

    def test_a_foreign_source_address_is_dropped_and_counted(self):
        before = sum(self.drops("n1").values())
        netns = BED.plan.netns("n1-p1")
        b.system.run("ip", "-n", netns, "address", "add", "10.1.0.99/32", "dev", "eth0")
        self.addCleanup(b.system.run, "ip", "-n", netns, "address", "del", "10.1.0.99/32", "dev", "eth0")
        done = BED.run("n1-p1", "ping", "-n", "-c", "3", "-i", "0.2", "-W", "1", "-I", "10.1.0.99", "10.1.0.1")
        self.assertNotEqual(done.returncode, 0, "a foreign source address was answered")
        after = self.drops("n1")
        self.assertGreaterEqual(sum(after.values()) - before, 3, after)
        self.assertTrue(BED.lab.answers("n1-p1", "10.1.0.1"))

    def test_garbage_on_the_hbone_port_ends_that_connection_alone(self):
        with BED.server("n2-p1", 7602, b.echo):
            with BED.connect("n1-p1", "10.2.0.11", 7602) as kept:
                kept.sendall(b"?")
                self.assertEqual(b.receive_exactly(kept, 1), b"?")
                for garbage in (b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096), b"\x16\x03\x01\xff\xff" + b"x" * 600):
                    with BED.connect("outside", "10.2.0.11", 15008) as stream:
                        stream.sendall(garbage)
                        self.assertIn(b.how_it_ended(stream, 5), ("end", "reset"))
                kept.sendall(b"!")
                self.assertEqual(b.receive_exactly(kept, 1), b"!")


if __name__ == "__main__":
    unittest.main(verbosity=2)
