#!/usr/bin/python3
"""What stands on the wire between the nodes: HBONE and nothing else."""

import pathlib
import secrets
import tempfile
import unittest

import bed as b
from labkit import capture
from labkit.tcpdump import capturing

BED = None
PAYLOAD_BYTES = 4 << 20


def setUpModule():
    global BED
    BED = b.Bed.up("wire")


def tearDownModule():
    BED.down()


class Wire(unittest.TestCase):
    # The order of the tests matters to none, but every test starts from nodes without tunnels: captures are read from
    # each connection's beginning.
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.addresses = {address for pod in b.p.PODS.values() for address in pod.addresses}

    def file(self, name):
        return pathlib.Path(self.folder.name) / f"{name}.pcap"

    def exchange(self, client, server, address, port, payload):
        with BED.server(server, port, b.echo), BED.connect(client, address, port, 30) as stream:
            for at in range(0, len(payload), 64 << 10):
                piece = payload[at:at + (64 << 10)]
                stream.sendall(piece)
                self.assertEqual(b.receive_exactly(stream, len(piece)), piece)

    def test_pods_on_two_nodes_leave_only_tls_1_3_on_port_15008(self):
        for client, server in (("n1-p1", "n2-p1"), ("n2-p2", "n1-p2")):
            for number, address in enumerate(b.p.PODS[server].addresses):
                with self.subTest(f"{client} to {address}"):
                    marker = secrets.token_hex(16).encode()
                    payload = (marker * (PAYLOAD_BYTES // len(marker)))
                    files = {place: self.file(f"{place}-{number}") for place in ("wire", client, server)}
                    with capturing(BED.plan.netns_path("wire"), b.p.BRIDGE, files["wire"]), \
                            capturing(BED.plan.netns_path(client), "eth0", files[client]), \
                            capturing(BED.plan.netns_path(server), "eth0", files[server]):
                        self.exchange(client, server, address, 7201, payload)
                    report = capture.check_wire(files["wire"], self.addresses, marker)
                    self.assertEqual(report.faults, [])
                    self.assertGreaterEqual(report.connections, 1)
                    self.assertGreaterEqual(report.protected_bytes, 2 * len(payload))
                    for pod in (client, server):
                        self.assertTrue(capture.holds(files[pod], marker), f"the marker is not in the capture of {pod}")

    def test_pods_on_one_node_leave_nothing_on_the_wire(self):
        file = self.file("wire")
        with capturing(BED.plan.netns_path("wire"), b.p.BRIDGE, file):
            self.exchange("n1-p1", "n1-p2", "10.1.0.12", 7202, b"in the house" * 1000)
        self.assertEqual([segment for segment in capture.segments(file)], [])

    def test_two_pods_on_one_node_still_pass_both_identities_and_two_log_lines(self):
        self.exchange("n2-p1", "n2-p2", "10.2.0.12", 7203, b"in the house" * 1000)
        source, destination = b.p.PODS["n2-p1"].identity, b.p.PODS["n2-p2"].identity
        for direction in ("outbound", "inbound"):
            line = BED.wait_for_access_line("n2", direction=direction, src_identity=source, dst_identity=destination)
            self.assertEqual(line["message"], "connection complete")
            self.assertNotIn("error", line)

    def test_both_nodes_log_a_connection_as_ztunnel_does(self):
        payload = b"to be counted" * 100
        self.exchange("n1-p2", "n2-p2", "10.2.0.12", 7204, payload)
        for node, direction in (("n1", "outbound"), ("n2", "inbound")):
            line = BED.wait_for_access_line(node, direction=direction, dst_hbone_addr="10.2.0.12:7204")
            self.assertEqual(line["message"], "connection complete")
            self.assertEqual(line["level"], "info")
            self.assertEqual(line["src.workload"], "n1-p2")
            self.assertEqual(line["src.namespace"], b.p.NAMESPACE)
            self.assertEqual(line["dst.workload"], "n2-p2")
            self.assertEqual(line["dst.addr"], "10.2.0.12:15008")
            self.assertEqual(line["src.identity"], b.p.PODS["n1-p2"].identity)
            self.assertEqual(line["dst.identity"], b.p.PODS["n2-p2"].identity)
            self.assertEqual((int(line["bytes_sent"]), int(line["bytes_recv"])), (len(payload), len(payload)))
            self.assertRegex(line["duration"], r"^\d+ms$")


if __name__ == "__main__":
    unittest.main(verbosity=2)
