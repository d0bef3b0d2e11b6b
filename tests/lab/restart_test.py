#!/usr/bin/python3
"""Either process of a node can be killed: what must go on goes on, what is lost comes back within seconds."""

import json
import time
import unittest

import bed as b

BED = None


def setUpModule():
    global BED
    BED = b.Bed.up("restart")


def tearDownModule():
    BED.down()


def _echo_while_it_speaks(stream, peer):
    """Echoes; ends quietly after silence. A pod whose own node's data plane was killed hears nothing more on what that
    carried: nobody knows the connection any more, and a kernel with nothing to send does not ask."""
    stream.settimeout(15)
    try:
        b.echo(stream, peer)
    except TimeoutError:
        pass


class Restarts(unittest.TestCase):
    def setUp(self):
        for pod in ("n2-p1", "n1-p2"):
            server = BED.server(pod, 7401, _echo_while_it_speaks, resets=True)
            server.__enter__()
            self.addCleanup(server.__exit__, None, None, None)

    def works(self, client, address):
        """Whether a new connection carries a byte there and back."""
        try:
            with BED.connect(client, address, 7401, 1) as stream:
                stream.sendall(b"?")
                return stream.recv(1) == b"?"
        except OSError:
            return False

    def test_a_killed_agent_that_stays_down_for_ten_seconds_is_not_missed(self):
        pids = {node: (BED.pid(node, "agent"), BED.pid(node)) for node in b.p.NODES}
        loads = [b.Load(BED.connect("n1-p1", "10.2.0.11", 7401, 20)),
                 b.Load(BED.connect("n2-p2", "fd01::12", 7401, 20))]
        for node in b.p.NODES:
            self.assertEqual(BED.lab.kill(node, "agent", hold=10), pids[node][0])
        killed = time.monotonic()
        seen = 0
        while time.monotonic() < killed + 9.5:
            self.assertTrue(self.works("n1-p1", "10.2.0.11"), f"a new connection {seen} while the agents are down")
            self.assertTrue(self.works("n2-p1", "fd01::12"), f"a new connection {seen} while the agents are down")
            seen += 1
            time.sleep(0.5)
        self.assertIsNone(BED.pid("n1", "agent"))
        for load in loads:
            load.stop()
            self.assertIsNone(load.failure)
            self.assertGreater(load.bytes, 10 << 20)
        for node in b.p.NODES:
            b.wait_for(lambda node=node: BED.pid(node, "agent"), 10, f"the agent of {node} did not come back")
            b.wait_for(lambda node=node: BED.lab.ctl(node, "status")["agent_connected"], 10,
                       f"the agent of {node} did not find its data plane")
            self.assertEqual(BED.pid(node), pids[node][1])
        # What changed meanwhile, and what changes from now on, arrives.
        content = b.yaml.safe_load(b.configs.mesh_yaml())
        content["policies"] = [{"name": "all", "namespace": "demo", "scope": "Namespace", "action": "Allow",
                                "dryRun": False, "rules": []}]
        BED.load_mesh(b.yaml.safe_dump(content))
        self.assertFalse(self.works("n1-p1", "10.2.0.11"))
        BED.load_mesh(b.configs.mesh_yaml())
        self.assertTrue(self.works("n1-p1", "10.2.0.11"))

    def test_a_mesh_file_that_changed_while_the_agent_was_down_is_in_force_when_it_returns(self):
        BED.lab.kill("n2", "agent", hold=1)
        content = b.yaml.safe_load(b.configs.mesh_yaml())
        content["policies"] = [{"name": "none", "namespace": "demo", "scope": "Namespace", "action": "Allow",
                                "dryRun": False, "rules": []}]
        BED.write_mesh(b.yaml.safe_dump(content))
        b.wait_for(lambda: not self.works("n1-p1", "10.2.0.11"), 10, "the change did not arrive")
        BED.load_mesh(b.configs.mesh_yaml())
        self.assertTrue(self.works("n1-p1", "10.2.0.11"))

    def test_a_killed_data_plane_leaves_the_pods_links_alone(self):
        before = {pod: _link_state(pod) for pod in ("n2-p1", "n2-p2")}
        for pod in before:
            self.assertEqual(len(before[pod]["addresses"]), 2)
            self.assertEqual(len([route for route in before[pod]["routes"] if "default" in route]), 2)
        BED.lab.kill("n2", "dataplane", hold=3)
        time.sleep(1.5)
        self.assertEqual({pod: _link_state(pod) for pod in before}, before)
        b.wait_for(lambda: BED.pid("n2"), 5, "the data plane was not started again")
        started = time.monotonic()
        for client, address in (("n1-p1", "10.2.0.11"), ("n1-p1", "fd02::11"), ("n2-p2", "10.2.0.11")):
            b.wait_for(lambda: self.works(client, address), 5, f"{client} to {address}: no new connection within 5 s")
        self.assertLess(time.monotonic() - started, 5)
        self.assertEqual({pod: _link_state(pod) for pod in before}, before)

    def test_new_connections_work_five_seconds_after_a_data_plane_was_killed(self):
        for node, client, address in (("n1", "n1-p1", "10.2.0.11"), ("n2", "n1-p1", "fd02::11"),
                                      ("n1", "n2-p1", "10.1.0.12")):
            with self.subTest(f"{node} killed, {client} to {address}"):
                self.assertTrue(self.works(client, address))
                old = BED.connect(client, address, 7401, 10)
                old.sendall(b"?")
                self.assertEqual(b.receive_exactly(old, 1), b"?")
                BED.lab.kill(node, "dataplane")
                killed = time.monotonic()
                b.wait_for(lambda: self.works(client, address), 5, "no new connection within 5 s")
                self.assertLess(time.monotonic() - killed, 5)
                # The old one is gone on one side: the client hears of it when it speaks, and not as a clean end.
                with old:
                    self.assertEqual(_speak(old), "reset")


def _speak(stream):
    """Says something on a connection that may be dead, and how it ends."""
    try:
        stream.sendall(b"are you there?")
    except (ConnectionResetError, BrokenPipeError):
        return "reset"
    return b.how_it_ended(stream, 20)


def _link_state(pod):
    """A pod's addresses and routes as its kernel shows them, without what only tells of the carrier."""
    netns = BED.plan.netns(pod)
    link = json.loads(b.system.run("ip", "-n", netns, "-j", "address", "show", "dev", "eth0"))[0]
    routes = []
    for family in ("-4", "-6"):
        for route in json.loads(b.system.run("ip", "-n", netns, "-j", family, "route", "show") or "[]"):
            routes.append(" ".join(str(route.get(key)) for key in ("dst", "gateway", "dev", "scope", "metric")))
    addresses = sorted(f"{one['local']}/{one['prefixlen']}" for one in link["addr_info"] if one["scope"] == "global")
    return {"mac": link["address"], "index": link["ifindex"], "mtu": link["mtu"], "addresses": addresses,
            "routes": sorted(routes)}


if __name__ == "__main__":
    unittest.main(verbosity=2)
