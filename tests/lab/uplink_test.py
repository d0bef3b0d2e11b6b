#!/usr/bin/python3
"""The same traffic over each kind of uplink, and which path it took: uplink_test.py tap|memif|af_xdp|net_tap [--huge].

Which driver, offload and AEAD backend were used is read from the nodes' counters, never assumed.
"""

import pathlib
import sys
import time
import unittest

import bed as b

BED = None
UPLINK = "tap"
HUGE = False

GIB = 1 << 30
IDLE_SECONDS = 15
# Ports without receive interrupts are looked at every 500 µs (D17).
IDLE_SHARE_MAX = {"tap": 0.01, "memif": 0.08, "af_xdp": 0.08, "net_tap": 0.08}
DRIVERS = {"tap": "tap", "memif": "net_memif", "af_xdp": "net_af_xdp", "net_tap": "net_tap"}


def setUpModule():
    global BED
    BED = b.Bed.up(f"up-{UPLINK.replace('_', '-')}", uplink=UPLINK, huge_pages=HUGE)


def tearDownModule():
    BED.down()


def counter(node, name):
    rows = BED.lab.ctl(node, "counters")
    return next(int(row["value"]) for row in rows if row["name"] == name)


class Uplink(unittest.TestCase):
    def port(self, node):
        return next(port for port in BED.lab.ctl(node, "ports") if port["name"] == "uplink0")

    def test_the_driver_is_the_one_asked_for_and_said_at_start(self):
        for node in b.p.NODES:
            with self.subTest(node):
                port = self.port(node)
                self.assertIn(DRIVERS[UPLINK], port["driver"])
                self.assertTrue(port["link_up"])
                self.assertEqual(port["mtu"], b.p.MTU)
                line = next(line for line in BED.log(node).splitlines() if "uplink0: driver" in line)
                self.assertIn(f"driver {port['driver']}", line)
                self.assertRegex(line, r"1 queue\b")
                by_device = line.split("by the device: ")[1].split(", in software")[0]
                self.assertEqual("segmentation" in by_device,
                                 any(offload.startswith("tso") for offload in port["offloads"]))
                if UPLINK == "tap":
                    self.assertTrue(port["receive_wakeup"])
                    self.assertTrue(any(offload.startswith("tso") for offload in port["offloads"]), port)
                if UPLINK in ("memif", "af_xdp"):
                    self.assertFalse(port["receive_wakeup"])
                    self.assertNotIn("tso", " ".join(port["offloads"]))

    def test_memory_is_of_the_kind_asked_for(self):
        for node in b.p.NODES:
            with self.subTest(node):
                maps = pathlib.Path(f"/proc/{BED.pid(node)}/smaps_rollup").read_text(encoding="ascii")
                huge_kb = int(next(line for line in maps.splitlines() if "Private_Hugetlb" in line).split()[1]) \
                    + int(next(line for line in maps.splitlines() if "Shared_Hugetlb" in line).split()[1])
                self.assertEqual(huge_kb > 0, HUGE and BED.plan.huge_pages, f"{huge_kb} kB of huge pages")

    def test_requests_pass_in_both_families(self):
        for address in b.p.PODS["n2-p1"].addresses:
            with self.subTest(address), BED.server("n2-p1", 7501, b.echo), \
                    BED.connect("n1-p1", address, 7501) as stream:
                stream.sendall(b"ping")
                self.assertEqual(b.receive_exactly(stream, 4), b"ping")

    def test_one_gibibyte_arrives_unchanged_over_the_path_that_is_claimed(self):
        heard = []
        before = self.port("n1")
        sealed = {name: counter("n1", name) for name in ("tls_record_ipsec_mb_sealed", "tls_record_openssl_sealed")}
        opened = {name: counter("n2", name) for name in ("tls_record_ipsec_mb_opened", "tls_record_openssl_opened")}
        with BED.server("n2-p1", 7502, lambda stream, _peer: heard.append(b.receive_all(stream))):
            with BED.connect("n1-p1", "10.2.0.11", 7502, 240) as stream:
                sent = b.send_pattern(stream, GIB)
            b.wait_for(lambda: heard, 240, "the server did not see the end")
        self.assertEqual(heard, [(GIB, sent)])
        after = self.port("n1")
        self.assertGreaterEqual(int(after["tx_bytes"]) - int(before["tx_bytes"]), GIB)
        records = GIB // (16 << 10)
        self.assertGreaterEqual(counter("n1", "tls_record_ipsec_mb_sealed") - sealed["tls_record_ipsec_mb_sealed"],
                                records)
        self.assertGreaterEqual(counter("n2", "tls_record_ipsec_mb_opened") - opened["tls_record_ipsec_mb_opened"],
                                records)
        self.assertEqual(counter("n1", "tls_record_openssl_sealed"), sealed["tls_record_openssl_sealed"])
        self.assertEqual(counter("n2", "tls_record_openssl_opened"), opened["tls_record_openssl_opened"])
        packets = int(after["tx_packets"]) - int(before["tx_packets"])
        if any(offload.startswith("tso") for offload in after["offloads"]):
            self.assertLess(packets, GIB / 4000, "segments were cut in software although the port can")
        else:
            self.assertGreater(packets, GIB / 1500, "segments larger than the MTU on a port that cannot cut them")

    def test_iperf3_runs_both_ways(self):
        for streams in (1, 16):
            for reverse in (False, True):
                with self.subTest(streams=streams, reverse=reverse):
                    self.assertGreater(b.iperf3(BED, "n1-p1", "n2-p1", "10.2.0.11", streams, reverse), 20e6)

    def test_an_idle_node_stays_within_its_share_of_a_core(self):
        time.sleep(1)
        pids = [BED.pid(node) for node in b.p.NODES]
        before = [b.cpu_seconds(pid) for pid in pids]
        time.sleep(IDLE_SECONDS)
        shares = [(b.cpu_seconds(pid) - used) / IDLE_SECONDS for pid, used in zip(pids, before)]
        self.assertLessEqual(max(shares), IDLE_SHARE_MAX[UPLINK], f"shares of a core: {shares}")


if __name__ == "__main__":
    words = sys.argv[1:]
    HUGE = "--huge" in words
    UPLINK = next(word for word in words if not word.startswith("-"))
    unittest.main(argv=sys.argv[:1], verbosity=2)
