#!/usr/bin/python3
"""What ends badly at one end is a reset at the other, within a second: never a hang, never a clean end (D23)."""

import select
import socket
import time
import unittest

import bed as b

BED = None


def setUpModule():
    global BED
    BED = b.Bed.up("reset")


def tearDownModule():
    BED.down()


class Resets(unittest.TestCase):
    def assertReset(self, stream, cause):
        """The stream ends by a reset within a second of `cause`, a point in time."""
        ended = b.how_it_ended(stream, max(0.05, cause + 1 - time.monotonic()))
        self.assertEqual(ended, "reset", f"{time.monotonic() - cause:.2f} s after the cause")

    def established(self, client, server, address, port):
        """Both ends of a connection that has carried a byte each way; the caller closes both."""
        listener = BED.listen(server, port)
        near = BED.connect(client, address, port)
        far, _ = listener.accept()
        listener.close()
        near.sendall(b"a")
        far.settimeout(10)
        self.assertEqual(b.receive_exactly(far, 1), b"a")
        far.sendall(b"b")
        self.assertEqual(b.receive_exactly(near, 1), b"b")
        self.addCleanup(near.close)
        self.addCleanup(far.close)
        return near, far

    def test_a_port_that_nobody_listens_on(self):
        for label, client, _, address in b.PATHS:
            with self.subTest(label):
                cause = time.monotonic()
                try:
                    stream = BED.connect(client, address, 9)
                except (ConnectionResetError, ConnectionRefusedError):
                    continue  # the reset came before connect() returned
                with stream:
                    self.assertReset(stream, cause)

    def test_an_address_that_no_workload_has(self):
        for address in ("10.2.0.77", "fd02::77", "192.0.2.1"):
            with self.subTest(address):
                cause = time.monotonic()
                try:
                    stream = BED.connect("n1-p1", address, 80)
                except (ConnectionResetError, ConnectionRefusedError):
                    continue
                with stream:
                    self.assertReset(stream, cause)

    def test_a_server_that_resets(self):
        for label, client, server, address in b.PATHS:
            with self.subTest(label):
                near, far = self.established(client, server, address, 7101)
                cause = time.monotonic()
                b.close_with_reset(far)
                self.assertReset(near, cause)

    def test_a_client_that_resets(self):
        for label, client, server, address in b.PATHS:
            with self.subTest(label):
                near, far = self.established(client, server, address, 7102)
                cause = time.monotonic()
                b.close_with_reset(near)
                self.assertReset(far, cause)

    def test_a_reset_in_mid_transfer_is_not_a_clean_end(self):
        for label, client, server, address in b.PATHS:
            with self.subTest(label):
                near, far = self.established(client, server, address, 7103)
                far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                far.sendall(b"x" * (8 << 10))
                near.sendall(b"y" * (256 << 10))
                # Unread bytes at the far end make its close a reset; without any it would be a FIN first.
                self.assertTrue(select.select([far], [], [], 5)[0], "nothing arrived at the far end")
                cause = time.monotonic()
                far.close()
                self.assertReset(near, cause)

    def test_a_tunnel_that_is_lost(self):
        near, far = self.established("n1-p1", "n2-p1", "10.2.0.11", 7104)
        BED.lab.kill("n1", "dataplane")
        cause = time.monotonic()
        # The far node hears of it when the restarted node answers for the dead connection, at the latest.
        far.sendall(b"are you there?")
        ended = b.how_it_ended(far, 15)
        self.assertEqual(ended, "reset", f"{time.monotonic() - cause:.2f} s after the cause")
        b.wait_for(lambda: BED.lab._missing() is None, 20, "the lab does not come back")
        near.close()

    def test_an_attachment_that_is_taken_away(self):
        text = b.configs.culvert_yaml(BED.plan, "n2")
        near, far = self.established("n1-p1", "n2-p2", "10.2.0.12", 7105)
        same_node, _ = self.established("n2-p1", "n2-p2", "10.2.0.12", 7106)
        without = "".join(section for section in _attachments_apart(text) if "id: n2-p2" not in section)
        cause = time.monotonic()
        BED.write_config("n2", without)
        try:
            self.assertReset(near, cause)
            self.assertReset(same_node, cause)
        finally:
            far.close()
            BED.write_config("n2", text)
        b.wait_for(lambda: BED.lab.answers("n2-p2", "10.2.0.1"), 10, "the pod does not come back")
        again, _ = self.established("n1-p1", "n2-p2", "10.2.0.12", 7107)
        again.close()

    def test_a_pod_whose_namespace_vanishes(self):
        netns = BED.plan.netns("n2-p2")
        program = ("import socket, time; "
                   "listener = socket.create_server(('::', 7108), family=socket.AF_INET6, dualstack_ipv6=True); "
                   "stream, _ = listener.accept(); stream.sendall(b'x'); time.sleep(60)")
        with BED.running("n2-p2", "/usr/bin/python3", "-c", program) as server:
            b.wait_for(lambda: "7108" in BED.run("n2-p2", "ss", "-Hltn").stdout, 5, "the server does not listen")
            near = BED.connect("n1-p1", "10.2.0.12", 7108)
            self.addCleanup(near.close)
            self.assertEqual(b.receive_exactly(near, 1), b"x")
            # Nothing the pod's kernel says on its way out reaches the node: its link is down first.
            b.system.run("ip", "-n", netns, "link", "set", "eth0", "down")
            b.system.delete_netns(netns)
            cause = time.monotonic()
            server.kill()
            server.wait(5)
            self.assertReset(near, cause)
        # The pod comes again under the same name, and its agent attaches it again.
        b.system.add_netns(netns)
        b.wait_for(lambda: BED.lab.answers("n2-p2", "10.2.0.1"), 15, "the new pod is not attached")
        again, _ = self.established("n1-p1", "n2-p2", "10.2.0.12", 7109)
        again.close()


def _attachments_apart(text):
    """culvert.yaml cut before each entry of `attachments` and before the section behind them."""
    head, rest = text.split("attachments:\n")
    entries, _, tail = rest.partition("mesh:\n")
    return [head + "attachments:\n", *("  - " + entry for entry in entries.split("  - ")[1:]), "mesh:\n" + tail]


if __name__ == "__main__":
    unittest.main(verbosity=2)
