#!/usr/bin/python3
"""What a node costs while nothing happens, and how fast it is awake again (D17). The machine must be quiet."""

import re
import time
import unittest

import bed as b

BED = None
IDLE_SECONDS = 30


def setUpModule():
    global BED
    BED = b.Bed.up("idle")


def tearDownModule():
    BED.down()


class Idle(unittest.TestCase):
    def test_an_idle_data_plane_uses_one_percent_of_a_core_at_most(self):
        time.sleep(2)
        pids = [BED.pid(node) for node in b.p.NODES]
        before = [b.cpu_seconds(pid) for pid in pids]
        time.sleep(IDLE_SECONDS)
        shares = [(b.cpu_seconds(pid) - used) / IDLE_SECONDS for pid, used in zip(pids, before)]
        self.assertLessEqual(max(shares), 0.01, f"shares of a core: {shares}")

    def test_an_idle_node_answers_a_warm_neighbour_within_a_millisecond(self):
        self.assertTrue(BED.lab.answers("n1-p1", "10.1.0.1"))
        done = BED.run("n1-p1", "ping", "-n", "-c", "20", "-i", "2", "-W", "1", "10.1.0.1", timeout=60)
        times = [float(value) for value in re.findall(r"time=([\d.]+) ms", done.stdout)]
        self.assertGreaterEqual(len([value for value in times if value <= 1.0]), 18, f"milliseconds: {times}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
