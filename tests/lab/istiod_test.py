#!/usr/bin/python3
"""A lab that lives from a control plane alone: no static file, no CA in files. Its istiod is a fake one that is told to
misbehave; agents, data planes and pods are real."""

import json
import re
import time
import unittest

import bed as b

BED = None

# A fifth of its life a certificate lies back, half of it is over ten seconds after it was issued.
LIFETIME = 25
DRAIN_SECONDS = 10


def setUpModule():
    global BED
    BED = b.Bed.up("istiod", istiod="fake", istiod_script=f"lifetime: {LIFETIME}s\n")


def tearDownModule():
    BED.down()


def serials(node):
    return {row["identity"]: row["serial"] for row in BED.lab.ctl(node, "status")["certificates"]}


def samples(node, name):
    """Samples of one metric of a node: [(labels, value)]."""
    status, text = BED.http(node, 15020, "/metrics")
    assert status == 200, text
    found = []
    for line in text.splitlines():
        match = re.fullmatch(re.escape(name) + r"(?:\{(.*)\})? (\S+)", line)
        if match:
            labels = dict(re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', match.group(1) or ""))
            found.append((labels, float(match.group(2))))
    return found


def total(node, name, **labels):
    return sum(value for found, value in samples(node, name) if all(found.get(k) == v for k, v in labels.items()))


class ControlPlane(unittest.TestCase):
    def test_no_file_of_the_nodes_holds_mesh_or_key(self):
        for node in b.p.NODES:
            config = BED.plan.config(node).read_text(encoding="utf-8")
            self.assertNotIn("mesh:", config)
            self.assertNotIn("ca:", config)
        self.assertFalse(BED.plan.ca_dir.exists())
        self.assertEqual([path for path in BED.plan.state.rglob("*") if path.is_file()
                          and b"PRIVATE KEY" in path.read_bytes()], [])

    def test_certificates_are_rotated_every_ten_seconds_under_load_and_no_byte_is_lost(self):
        before = {node: serials(node) for node in b.p.NODES}
        issued = len(BED.istiod_events("certificate"))
        with BED.server("n2-p1", 7501, b.echo):
            load = b.Load(BED.connect("n1-p1", "10.2.0.11", 7501))
            fresh = 0
            until = time.monotonic() + 24
            while time.monotonic() < until:
                with BED.connect("n1-p2", "10.2.0.11", 7501) as stream:
                    stream.sendall(b"?")
                    self.assertEqual(stream.recv(1), b"?", "new connections work all the while")
                fresh += 1
                time.sleep(0.3)
            load.stop()
        self.assertIsNone(load.failure)
        self.assertGreater(load.bytes, 100 << 20)
        self.assertGreater(fresh, 40)
        for node in b.p.NODES:
            for identity, serial in serials(node).items():
                self.assertNotEqual(serial, before[node][identity], f"{identity} has a new certificate")
        self.assertGreaterEqual(len(BED.istiod_events("certificate")) - issued, 2 * len(b.p.PODS))

    def test_a_restarted_agent_is_in_step_again_and_no_connection_ends(self):
        with BED.server("n2-p1", 7502, b.echo):
            load = b.Load(BED.connect("n1-p1", "10.2.0.11", 7502))
            for node in b.p.NODES:
                old = BED.lab.kill(node, "agent")
                b.wait_for(lambda: BED.pid(node, "agent") not in (None, old), 10, "the agent does not come back")
                b.wait_for(lambda: BED.http(node, 15021, "/healthz/ready")[0] == 200, 10, "it does not get ready")
            moved = load.bytes
            b.wait_for(lambda: load.bytes > moved, 5, "the connection does not go on")
            load.stop()
        self.assertIsNone(load.failure)

    def test_a_service_that_moves_to_a_pod_of_another_node_is_followed_within_a_second(self):
        plain = BED.plan.mesh_file.read_text(encoding="utf-8")
        self.addCleanup(BED.load_mesh, plain)
        here = {"n2-p1": b"2", "n1-p2": b"1"}

        def answer():
            try:
                with BED.connect("n1-p1", b.p.SERVICE_VIPS[0], b.p.SERVICE_PORT, 1) as stream:
                    return stream.recv(1)
            except OSError:
                return b""

        def say(word):
            return lambda stream, _: stream.sendall(word)

        with BED.server("n2-p1", b.p.SERVICE_TARGET_PORT, say(b"2"), resets=True), \
                BED.server("n1-p2", b.p.SERVICE_TARGET_PORT, say(b"1"), resets=True):
            for pod in ("n2-p1", "n1-p2", "n2-p1"):
                BED.write_mesh(_members(plain, pod))
                begin = time.monotonic()
                # One of three would answer so by chance while the old list is in force: twelve times it does not.
                b.wait_for(lambda: all(answer() == here[pod] for _ in range(12)), 3, f"the service is not at {pod}")
                self.assertLess(time.monotonic() - begin, 1, "the fake istiod's watch of its file included")

    def test_metrics_hold_what_was_moved(self):
        labels = {"source_workload": "n1-p2", "destination_workload": "n2-p2", "response_flags": "-"}
        names = ("istio_tcp_connections_opened_total", "istio_tcp_connections_closed_total",
                 "istio_tcp_received_bytes_total", "istio_tcp_sent_bytes_total")
        sides = {"n1": "source", "n2": "destination"}
        before = {(node, name): total(node, name, reporter=side, **labels) for node, side in sides.items()
                  for name in names}
        sent, answered, connections = 3_000_000, 5_000_000, 7

        def serve(stream, _):
            b.receive_all(stream)
            b.send_pattern(stream, answered)

        with BED.server("n2-p2", 7503, serve):
            for _ in range(connections):
                with BED.connect("n1-p2", "10.2.0.12", 7503) as stream:
                    b.send_pattern(stream, sent)
                    stream.shutdown(b.socket.SHUT_WR)
                    self.assertEqual(b.receive_all(stream)[0], answered)
        expected = dict(zip(names, (connections, connections, connections * sent, connections * answered)))
        for node, side in sides.items():
            b.wait_for(lambda: total(node, names[1], reporter=side, **labels) - before[node, names[1]] == connections,
                       5, "not all connections are counted as closed")
            for name, value in expected.items():
                self.assertEqual(total(node, name, reporter=side, **labels) - before[node, name], value, (node, name))
        failed = {"source_workload": "n1-p2", "destination_workload": "n2-p2", "response_flags": "CONNECT"}
        was = total("n1", "istio_tcp_connections_failed_total", **failed)
        try:
            with BED.connect("n1-p2", "10.2.0.12", 7504) as stream:
                self.assertEqual(b.how_it_ended(stream, 5), "reset")
        except ConnectionResetError:
            pass  # it came while connect() was still returning
        b.wait_for(lambda: total("n1", "istio_tcp_connections_failed_total", **failed) == was + 1, 5,
                   "the refused connection is not counted")

    def test_config_dump_shows_live_connections_and_certificates(self):
        with BED.server("n2-p1", 7505, b.echo), BED.connect("n1-p1", "10.2.0.11", 7505) as stream:
            stream.sendall(b"?")
            self.assertEqual(stream.recv(1), b"?")
            source = "%s:%d" % stream.getsockname()
            client = json.loads(BED.http("n1", 15000, "/config_dump")[1])
            server = json.loads(BED.http("n2", 15000, "/config_dump")[1])
        out = client["workloadState"]["n1-p1"]["connections"]["outbound"]
        self.assertIn({"src": source, "originalDst": "10.2.0.11:7505", "actualDst": "10.2.0.11:15008",
                       "protocol": "HBONE"}, out)
        into = server["workloadState"]["n2-p1"]["connections"]["inbound"]
        # The source is the tunnel's: what policy judges (reference 28.6).
        self.assertTrue([one for one in into if one["src"].startswith("10.1.0.11:")
                         and one["actualDst"] == "10.2.0.11:7505" and one["protocol"] == "HBONE"], into)
        shown = {one["identity"]: one for one in client["certificates"]}
        for identity, serial in serials("n1").items():
            self.assertEqual(shown[identity]["state"], "Available")
            self.assertTrue(shown[identity]["certChain"][0]["serialNumber"].isdigit(), serial)

    def test_a_new_root_is_taken_in_without_dropping_a_tunnel(self):
        with BED.server("n2-p2", 7506, b.echo):
            load = b.Load(BED.connect("n1-p1", "10.2.0.12", 7506))
            before = {node: serials(node) for node in b.p.NODES}
            BED.istiod({"do": "rotate-root", "keep-old": True})
            b.wait_for(lambda: all(serial != before[node].get(identity) for node in b.p.NODES
                                   for identity, serial in serials(node).items()), 25, "no new certificates")
            with BED.connect("n1-p2", "10.2.0.12", 7506) as stream:
                stream.sendall(b"?")
                self.assertEqual(stream.recv(1), b"?")
            load.stop()
        self.assertIsNone(load.failure)

    def test_without_istiod_everything_goes_on(self):
        with BED.server("n2-p1", 7507, b.echo):
            load = b.Load(BED.connect("n1-p1", "10.2.0.11", 7507))
            streams = len(BED.istiod_events("stream"))
            BED.istiod({"do": "away", "for": "3s"})
            for _ in range(10):
                with BED.connect("n1-p2", "10.2.0.11", 7507) as stream:
                    stream.sendall(b"?")
                    self.assertEqual(stream.recv(1), b"?")
                time.sleep(0.3)
            load.stop()
        self.assertIsNone(load.failure)
        self.assertIn("the mesh stays as it was", BED.log("n1", "agent"))
        b.wait_for(lambda: len(BED.istiod_events("stream")) >= streams + len(b.p.NODES), 20,
                   "the agents do not come back")
        for node in b.p.NODES:
            b.wait_for(lambda: samples(node, "culvert_xds_connected")[0][1] == 1, 20, "the stream is not up again")


def _members(mesh, pod):
    """The mesh with this pod as the service's only endpoint."""
    lines = []
    name = None
    for line in mesh.splitlines(keepends=True):
        if match := re.match(r"    name: (\S+)", line):
            name = match.group(1)
        if line.startswith("    services: ") and name != pod:
            line = "    services: {}\n"
        lines.append(line)
    return "".join(lines)


class Drain(unittest.TestCase):
    """Last in the file, and of node 2 only: its data plane ends and is started again."""

    def test_quitquitquit_cuts_none_of_500_streams_before_the_deadline_and_then_ends(self):
        config = BED.plan.config("n2").read_text(encoding="utf-8")
        BED.write_config("n2", config + f"drain:\n  deadline: {DRAIN_SECONDS}s\n")
        old = BED.lab.kill("n2", "dataplane")
        b.wait_for(lambda: BED.pid("n2") not in (None, old), 10, "the data plane does not come back")
        b.wait_for(self._works, 15, "node 2 does not come back")
        # A tunnel of node 1 to the data plane that was killed ends with the first streams that use it.
        b.wait_for(lambda: self._works(1, "n1-p1", "n2-p2"), 15, "the way from n1-p1 to n2-p2 does not come back")
        with BED.server("n2-p2", 7508, b.echo, resets=True):
            streams = [BED.connect("n1-p1", "10.2.0.12", 7508) for _ in range(500)]
            try:
                self._all_echo(streams)
                pid = BED.pid("n2")
                begin = time.monotonic()
                status, body = BED.http("n2", 15000, "/quitquitquit", "POST")
                self.assertEqual((status, body), (200, "shutdown now\n"))
                self.assertFalse(self._works(0.5), "nothing new is taken")
                while time.monotonic() - begin < DRAIN_SECONDS - 6:  # a busy machine needs seconds for 500 echoes
                    self._all_echo(streams)
                    self.assertEqual(BED.pid("n2"), pid, "it has not ended yet")
                b.wait_for(lambda: BED.pid("n2") != pid, DRAIN_SECONDS + 2 - (time.monotonic() - begin),
                           "the data plane does not end")
                for stream in streams:
                    self.assertEqual(b.how_it_ended(stream, 2), "reset")
            finally:
                for stream in streams:
                    stream.close()
        lines = [line for line in BED.access_lines("n2") if "connection drain" in line.get("error", "")]
        self.assertEqual(len(lines), 500)
        b.wait_for(lambda: self._works(), 15, "the node that follows does not serve")

    def _works(self, timeout=1.0, client="n1-p2", server="n2-p1"):
        with BED.server(server, 7509, b.echo, resets=True):
            try:
                with BED.connect(client, b.p.PODS[server].addresses[0], 7509, timeout) as stream:
                    stream.sendall(b"?")
                    return stream.recv(1) == b"?"
            except OSError:
                return False

    def _all_echo(self, streams):
        for stream in streams:
            stream.sendall(b"0123456789")
        for number, stream in enumerate(streams):
            self.assertEqual(b.receive_exactly(stream, 10), b"0123456789", f"stream {number}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
