#!/usr/bin/python3
"""Authorization policies through real tunnels: a table of rows, and what a change does to a live stream."""

import time
import unittest

import bed as b

BED = None
PORT = 7301

ALLOWED, DENIED = "allowed", "denied"
TRUST = "cluster.local/ns/demo/sa/"


def setUpModule():
    global BED
    BED = b.Bed.up("policy")


def tearDownModule():
    BED.down()


def policy(name="p", action="Allow", scope="Namespace", dry_run=False, matches=None, rules=None, namespace="demo"):
    """One policy as the mesh file has it. `matches`: the match lists of the only clause of the only rule."""
    if rules is None:
        rules = [] if matches is None else [[matches]]
    return {"name": name, "namespace": namespace, "scope": scope, "action": action, "dryRun": dry_run, "rules": rules}


def principals(*names):
    return {"principals": [{"Exact": TRUST + name} for name in names]}


# (what it shows, policies, {client: verdict} at n2-p1 over IPv4). n1-p1 is 10.1.0.11, n1-p2 10.1.0.12.
ROWS = [
    ("without a policy all may", [], {"n1-p1": ALLOWED, "n1-p2": ALLOWED}),
    ("an allow policy lets only those through that it names",
     [policy(matches=[principals("n1-p1")])], {"n1-p1": ALLOWED, "n1-p2": DENIED, "n2-p2": DENIED}),
    ("an allow policy without rules lets nobody through", [policy()], {"n1-p1": DENIED, "n2-p2": DENIED}),
    ("a deny policy without rules stops nobody", [policy(action="Deny")], {"n1-p1": ALLOWED, "n2-p2": ALLOWED}),
    ("a deny policy stops only those that it names",
     [policy(action="Deny", matches=[principals("n1-p2")])], {"n1-p1": ALLOWED, "n1-p2": DENIED}),
    ("deny goes before allow",
     [policy("a", matches=[principals("n1-p1", "n1-p2")]), policy("d", "Deny", matches=[principals("n1-p2")])],
     {"n1-p1": ALLOWED, "n1-p2": DENIED}),
    ("one of several allow policies is enough",
     [policy("a", matches=[principals("n1-p1")]), policy("b", matches=[principals("n1-p2")])],
     {"n1-p1": ALLOWED, "n1-p2": ALLOWED, "n2-p2": DENIED}),
    ("a dry run stops nobody", [policy(action="Deny", dry_run=True, matches=[principals("n1-p1")])],
     {"n1-p1": ALLOWED}),
    ("by namespace", [policy(matches=[{"namespaces": [{"Exact": "demo"}]}])], {"n1-p1": ALLOWED}),
    ("by another namespace", [policy(matches=[{"namespaces": [{"Exact": "prod"}]}])], {"n1-p1": DENIED}),
    ("by all namespaces but one", [policy(matches=[{"notNamespaces": [{"Exact": "demo"}]}])], {"n1-p1": DENIED}),
    ("by service account",
     [policy(matches=[{"serviceAccounts": [{"namespace": "demo", "serviceAccount": "n1-p2"}]}])],
     {"n1-p1": DENIED, "n1-p2": ALLOWED}),
    ("by the beginning of a principal", [policy(matches=[{"principals": [{"Prefix": TRUST + "n1-"}]}])],
     {"n1-p1": ALLOWED, "n1-p2": ALLOWED, "n2-p2": DENIED}),
    ("by the end of a principal", [policy(matches=[{"principals": [{"Suffix": "-p2"}]}])],
     {"n1-p1": DENIED, "n1-p2": ALLOWED, "n2-p2": ALLOWED}),
    ("by having an identity at all", [policy(matches=[{"principals": [{"Presence": []}]}])],
     {"n1-p1": ALLOWED, "n2-p2": ALLOWED}),
    ("by every principal but one", [policy(matches=[{"notPrincipals": [{"Exact": TRUST + "n1-p1"}]}])],
     {"n1-p1": DENIED, "n1-p2": ALLOWED}),
    ("by source address", [policy(matches=[{"sourceIps": ["10.1.0.11/32"]}])], {"n1-p1": ALLOWED, "n1-p2": DENIED}),
    ("by source prefix", [policy(matches=[{"sourceIps": ["10.1.0.0/16"]}])], {"n1-p2": ALLOWED, "n2-p2": DENIED}),
    ("by every source but one", [policy(matches=[{"notSourceIps": ["10.1.0.12/32"]}])],
     {"n1-p1": ALLOWED, "n1-p2": DENIED}),
    ("by destination address", [policy(matches=[{"destinationIps": ["10.2.0.11/32"]}])], {"n1-p1": ALLOWED}),
    ("by another destination address", [policy(matches=[{"destinationIps": ["10.2.0.12/32"]}])], {"n1-p1": DENIED}),
    ("by port", [policy(matches=[{"destinationPorts": [PORT]}])], {"n1-p1": ALLOWED}),
    ("by another port", [policy(matches=[{"destinationPorts": [PORT + 1]}])], {"n1-p1": DENIED}),
    ("by every port but one", [policy(action="Deny", matches=[{"notDestinationPorts": [PORT]}])], {"n1-p1": ALLOWED}),
    ("a match asks for all of its fields",
     [policy(matches=[{**principals("n1-p1"), "destinationPorts": [PORT + 1]}])], {"n1-p1": DENIED}),
    ("a clause is met by one of its matches",
     [policy(matches=[principals("n1-p1"), principals("n1-p2")])],
     {"n1-p1": ALLOWED, "n1-p2": ALLOWED, "n2-p2": DENIED}),
    ("a rule asks for all of its clauses",
     [policy(rules=[[[principals("n1-p1")], [{"destinationPorts": [PORT + 1]}]]])], {"n1-p1": DENIED}),
    ("a policy is met by one of its rules",
     [policy(rules=[[[principals("n1-p1")]], [[principals("n1-p2")]]])],
     {"n1-p1": ALLOWED, "n1-p2": ALLOWED, "n2-p2": DENIED}),
    ("a rule without clauses is met by everybody", [policy(rules=[[]])], {"n1-p1": ALLOWED, "n2-p2": ALLOWED}),
    ("a clause without matches is met by everybody", [policy(rules=[[[]]])], {"n1-p1": ALLOWED, "n2-p2": ALLOWED}),
    ("an empty match is met by nobody", [policy(rules=[[[{}]]])], {"n1-p1": DENIED, "n2-p2": DENIED}),
    ("for the whole mesh", [policy(scope="Global", namespace="istio-system", matches=[principals("n1-p1")])],
     {"n1-p1": ALLOWED, "n1-p2": DENIED}),
    ("for another namespace", [policy(namespace="prod", matches=[principals("n1-p1")])], {"n1-p2": ALLOWED}),
    ("for workloads that select it, of which ours is none",
     [policy(scope="WorkloadSelector", matches=[principals("n1-p1")])], {"n1-p2": ALLOWED}),
]


def mesh(policies, selected_by=()):
    """The generated mesh with policies; the pods in `selected_by` select all of them."""
    content = b.yaml.safe_load(b.configs.mesh_yaml())
    content["policies"] = policies
    for workload in content["workloads"]:
        if workload["name"] in selected_by:
            workload["authorizationPolicies"] = [f"{one['namespace']}/{one['name']}" for one in policies]
    return b.yaml.safe_dump(content, sort_keys=False)


class Policies(unittest.TestCase):
    def setUp(self):
        server = BED.server("n2-p1", PORT, b.echo, resets=True)  # a policy that changes ends streams
        server.__enter__()
        self.addCleanup(server.__exit__, None, None, None)

    def verdict(self, client, address="10.2.0.11"):
        """How a connection fares: a byte comes back, or it is reset within a second."""
        started = time.monotonic()
        try:
            with BED.connect(client, address, PORT, 5) as stream:
                stream.sendall(b"?")
                return ALLOWED if stream.recv(1) == b"?" else "ended without a word"
        except (ConnectionResetError, BrokenPipeError):
            return DENIED if time.monotonic() - started < 1 else "denied late"

    def test_each_row_of_the_table_holds_through_a_tunnel(self):
        for what, policies, verdicts in ROWS:
            with self.subTest(what):
                BED.load_mesh(mesh(policies))
                self.assertEqual({client: self.verdict(client) for client in verdicts}, verdicts)

    def test_a_policy_that_a_workload_selects_counts_for_it_alone(self):
        BED.load_mesh(mesh([policy(scope="WorkloadSelector", matches=[principals("n1-p1")])], selected_by=["n2-p1"]))
        self.assertEqual(self.verdict("n1-p1"), ALLOWED)
        self.assertEqual(self.verdict("n1-p2"), DENIED)
        with BED.server("n2-p2", PORT, b.echo):
            self.assertEqual(self.verdict("n1-p2", "10.2.0.12"), ALLOWED)

    def test_ipv6_addresses_match_as_well(self):
        BED.load_mesh(mesh([policy(matches=[{"sourceIps": ["fd01::11/128"]}])]))
        self.assertEqual(self.verdict("n1-p1", "fd02::11"), ALLOWED)
        self.assertEqual(self.verdict("n1-p2", "fd02::11"), DENIED)
        self.assertEqual(self.verdict("n1-p1", "10.2.0.11"), DENIED)

    def test_a_denied_stream_is_answered_with_401_and_named_on_both_nodes(self):
        BED.load_mesh(mesh([policy("no-p2", "Deny", matches=[principals("n1-p2")])]))
        self.assertEqual(self.verdict("n1-p2"), DENIED)
        inbound = b.wait_for(lambda: next((line for line in BED.access_lines("n2")
                                           if "explicitly denied by: demo/no-p2" in line.get("error", "")), None),
                             5, "n2 does not name the policy")
        self.assertIn("connection closed due to policy rejection: explicitly denied by: demo/no-p2", inbound["error"])
        self.assertEqual(inbound["src.identity"], b.p.PODS["n1-p2"].identity)
        outbound = b.wait_for(lambda: next((line for line in BED.access_lines("n1") if "401" in line.get("error", "")),
                                           None), 5, "n1 does not tell of the 401")
        self.assertIn("http status: 401 Unauthorized", outbound["error"])

    def test_a_change_that_denies_ends_the_live_stream_and_no_other(self):
        BED.load_mesh(mesh([]))
        with BED.connect("n1-p1", "10.2.0.11", PORT) as stopped, BED.connect("n1-p2", "10.2.0.11", PORT) as kept:
            for stream in (stopped, kept):
                stream.sendall(b"?")
                self.assertEqual(b.receive_exactly(stream, 1), b"?")
            BED.load_mesh(mesh([policy("late", "Deny", matches=[principals("n1-p1")])]))
            self.assertEqual(b.how_it_ended(stopped, 1), "reset")
            kept.sendall(b"still there")
            self.assertEqual(b.receive_exactly(kept, 11), b"still there")
        self.assertEqual(self.verdict("n1-p1"), DENIED)
        b.wait_for(lambda: any("connection closed due to policy change" in line.get("error", "")
                               for line in BED.access_lines("n2")), 5, "n2 does not tell why it ended the stream")


if __name__ == "__main__":
    unittest.main(verbosity=2)
