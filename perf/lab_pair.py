"""The lab as a benchmark: the same two kernel pods, once joined by Culvert, once by a pair of haproxy that carries
TCP in mutual TLS 1.3, interleaved in one run. CPU is what the processes under test used (user and system), per bit.

The rival gets a kernel path of its own: a veth from each pod to a namespace with one haproxy, and a veth between the
two haproxies, MTU 1500 with the kernel's offloads on, as on the lab's TAPs.
"""
import json
import pathlib
import subprocess
import tempfile
import time

LAB = "perf"
RIVAL_PORT = 5301


def sh(*command, check=True, **kwargs):
    return subprocess.run([str(c) for c in command], check=check, capture_output=True, text=True, **kwargs)


class Rival:
    """Two haproxies, each in a namespace of its own."""

    def __init__(self, bin_dir, pods, directory):
        self.pods = pods
        self.directory = directory
        self.namespaces = [f"culvert-{LAB}-ha1", f"culvert-{LAB}-ha2"]
        self.processes = []
        ca = directory / "ca"
        sh(bin_dir / "culvertctl", "ca", "init", ca)
        for name in ("ha1", "ha2"):
            sh(bin_dir / "culvertctl", "ca", "issue", "--dir", ca, "--out", directory / name,
               f"spiffe://cluster.local/ns/perf/sa/{name}")
            chain, key = (directory / f"{name}-{part}.pem" for part in ("chain", "key"))
            (directory / f"{name}-both.pem").write_text(chain.read_text() + key.read_text())
        self.roots = ca / "root-cert.pem"

    def __enter__(self):
        for i, namespace in enumerate(self.namespaces):
            sh("ip", "netns", "add", namespace)
            sh("ip", "-n", namespace, "link", "set", "lo", "up")
            pod = self.pods[i]
            sh("ip", "-n", pod, "link", "add", "rival", "type", "veth", "peer", "name", "pod", "netns", namespace)
            sh("ip", "-n", pod, "addr", "add", f"172.31.{i}.2/24", "dev", "rival")
            sh("ip", "-n", namespace, "addr", "add", f"172.31.{i}.1/24", "dev", "pod")
            sh("ip", "-n", pod, "link", "set", "rival", "up")
            sh("ip", "-n", namespace, "link", "set", "pod", "up")
        sh("ip", "-n", self.namespaces[0], "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns",
           self.namespaces[1])
        for i, namespace in enumerate(self.namespaces):
            sh("ip", "-n", namespace, "addr", "add", f"172.30.0.{i + 1}/24", "dev", "wire")
            sh("ip", "-n", namespace, "link", "set", "wire", "up")
        common = ("global\n  nbthread 1\n  ssl-default-bind-options ssl-min-ver TLSv1.3\n"
                  "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n")
        d = self.directory
        (d / "ha1.cfg").write_text(
            common + f"listen out\n  bind 172.31.0.1:{RIVAL_PORT}\n  server far 172.30.0.2:15443 ssl verify required "
            f"ca-file {self.roots} crt {d}/ha1-both.pem ssl-min-ver TLSv1.3\n")
        (d / "ha2.cfg").write_text(
            common + f"listen in\n  bind 172.30.0.2:15443 ssl crt {d}/ha2-both.pem verify required "
            f"ca-file {self.roots}\n"
            f"  server pod 172.31.1.2:5201\n")
        for i, namespace in enumerate(self.namespaces):
            self.processes.append(subprocess.Popen(
                ["ip", "netns", "exec", namespace, "haproxy", "-db", "-f", str(d / f"ha{i + 1}.cfg")],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        time.sleep(1)
        for process in self.processes:
            if process.poll() is not None:
                raise RuntimeError("haproxy did not start")
        return self

    def __exit__(self, *unused):
        for process in self.processes:
            process.terminate()
            process.wait(10)
        for pod in self.pods:
            sh("ip", "-n", pod, "link", "del", "rival", check=False)
        for namespace in self.namespaces:
            sh("ip", "netns", "del", namespace, check=False)

    def cpu_seconds(self):
        return sum(cpu_seconds(p.pid) for p in self.processes)


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100.0


def iperf(pod, address, port, seconds, streams, reverse):
    command = ["ip", "netns", "exec", pod, "iperf3", "-J", "-c", address, "-p", str(port), "-t", str(seconds),
               "-P", str(streams)]
    if reverse:
        command.append("-R")
    report = json.loads(sh(*command, timeout=seconds + 30).stdout)
    return report["end"]["sum_received"]["bytes"]


def median(values):
    return sorted(values)[len(values) // 2]


def measure(root, bin_dir, quick):
    seconds = 2 if quick else 5
    pairs = 3 if quick else 7
    lab = root / "scripts" / "lab"
    sh(lab, "up", "--bin", bin_dir, "--name", LAB)
    server = None
    try:
        status = json.loads(sh(lab, "status", "--name", LAB, "-o", "json").stdout)
        netns = {p["name"]: p["netns"] for p in status["pods"]}
        client, far = (pathlib.Path(netns[n]).name for n in ("n1-p1", "n2-p1"))
        dataplanes = [n["pids"]["dataplane"] for n in status["nodes"]]
        server = subprocess.Popen(["ip", "netns", "exec", far, "iperf3", "-s", "-p", "5201"], stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        measures = []
        with tempfile.TemporaryDirectory() as place, Rival(bin_dir, (client, far), pathlib.Path(place)) as rival:
            for streams, reverse in ((1, False), (1, True), (16, False), (16, True)):
                ours, theirs = {"cpu": [], "rate": []}, {"cpu": [], "rate": []}
                for _ in range(pairs):
                    for side, address, port, cpu in (
                            (ours, "10.2.0.11", 5201, lambda: sum(map(cpu_seconds, dataplanes))),
                            (theirs, "172.31.0.1", RIVAL_PORT, rival.cpu_seconds)):
                        before, from_time = cpu(), time.monotonic()
                        gbit = iperf(client, address, port, seconds, streams, reverse) * 8 / 1e9
                        side["rate"].append(gbit / (time.monotonic() - from_time))
                        side["cpu"].append(gbit / max(cpu() - before, 0.01))
                params = {"streams": streams, "direction": "down" if reverse else "up"}
                for name, key, unit in (("bulk_cpu", "cpu", "Gbit per CPU-second, both ends"),
                                        ("bulk_rate", "rate", "Gbit per second")):
                    value, other = median(ours[key]), median(theirs[key])
                    measures.append({"suite": "lab", "name": name, "params": params, "unit": unit, "value": value,
                                     "low": min(ours[key]), "high": max(ours[key]), "repeats": pairs,
                                     "rival": "haproxy mutual TLS", "ratio": value / other,
                                     "target": 0.5 if key == "rate" else None,
                                     "met": value / other >= 0.5 if key == "rate" else None,
                                     "limited_by": None})
        return measures
    finally:
        if server:
            server.terminate()
            server.wait(10)
        sh(lab, "down", "--name", LAB, check=False)
