"""The part of scripts/quickstart that runs once the programs are built: lab, request, captures, summary."""

import argparse
import http.client
import http.server
import pathlib
import secrets
import signal
import socket
import socketserver
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from labkit import access_log, capture, lab_state, system  # noqa: E402  (the path has to be set first)
from labkit import plan as p  # noqa: E402
from labkit.capture import CaptureError  # noqa: E402
from labkit.lab import Lab  # noqa: E402
from labkit.system import LabError  # noqa: E402
from labkit.tcpdump import capturing  # noqa: E402

NAME = "quickstart"
CLIENT, SERVER, PORT = "n1-p1", "n2-p1", 8080
BODY_BYTES = 1 << 20
LOG_SECONDS = 5


class Problem(Exception):
    """Something that should be so is not; one sentence."""


class Page(http.server.BaseHTTPRequestHandler):
    """One page whose body carries the marker every 64 KB or so."""
    body = b""
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(self.body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingTCPServer):
    """As http.server.HTTPServer, which asks DNS for its own name; a pod has no DNS."""
    allow_reuse_address = True
    daemon_threads = True


def serve(lab, pod, marker):
    """An HTTP server in a pod, on a thread of ours."""
    piece = f"{marker} is what the pods say to each other. ".encode()
    page = type("MarkedPage", (Page,), {"body": (piece * (BODY_BYTES // len(piece) + 1))[:BODY_BYTES]})
    with system.inside(lab.plan.netns_path(pod.name)):
        server = Server((pod.addresses[0], PORT), page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def request(lab, pod, marker):
    """A GET from a pod; returns (status, body, seconds)."""
    started = time.monotonic()
    with system.inside(lab.plan.netns_path(pod.name)):
        stream = socket.create_connection((p.PODS[SERVER].addresses[0], PORT), timeout=20)
    connection = http.client.HTTPConnection(p.PODS[SERVER].addresses[0], PORT)
    connection.sock = stream
    connection.request("GET", f"/{marker}")
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body, time.monotonic() - started


def logged(lab, node, direction):
    """The access-log line of our connection on a node."""
    deadline = time.monotonic() + LOG_SECONDS
    while time.monotonic() < deadline:
        for line in access_log.read(lab.log_file(node, "dataplane")):
            if line.get("direction") == direction and line["message"] == "connection complete":
                return line
        time.sleep(0.1)
    raise Problem(f"{node} logged no complete {direction} connection within {LOG_SECONDS} s")


def number(value):
    return f"{int(value):,}"


def tell(name, text):
    print(f"  {name:9} {text}")


def show(lab, folder):
    """Request, captures and checks; prints the summary."""
    client, server = p.PODS[CLIENT], p.PODS[SERVER]
    marker = secrets.token_hex(16)
    files = {place: folder / f"{place}.pcap" for place in ("wire", CLIENT, SERVER)}
    page = serve(lab, server, marker)
    with capturing(lab.plan.netns_path("wire"), p.BRIDGE, files["wire"]), \
            capturing(lab.plan.netns_path(CLIENT), "eth0", files[CLIENT]), \
            capturing(lab.plan.netns_path(SERVER), "eth0", files[SERVER]):
        status, body, seconds = request(lab, client, marker)
        outbound, inbound = logged(lab, client.node, "outbound"), logged(lab, server.node, "inbound")
    page.shutdown()
    page.server_close()

    print()
    if status != 200 or len(body) != BODY_BYTES:
        raise Problem(f"{SERVER} answered {status} with {len(body)} bytes, not 200 with {BODY_BYTES}")
    tell("request", f"{CLIENT} on n1 asked {SERVER} on n2 over HTTP: {status}, {number(len(body))} bytes in "
                    f"{seconds * 1000:.0f} ms, new tunnel included")
    for node, line in (("n1", outbound), ("n2", inbound)):
        if (line.get("src.identity"), line.get("dst.identity")) != (client.identity, server.identity):
            raise Problem(f"{node} logged other identities: {line.get('src.identity')} to {line.get('dst.identity')}")
    tell("who", f"{client.identity} to {server.identity}, as both nodes logged it")

    there, back = capture.payload_bytes(files[CLIENT], PORT)
    if (int(outbound["bytes_sent"]), int(outbound["bytes_recv"])) != (there, back):
        raise Problem(f"n1 logged {outbound['bytes_sent']} bytes there and {outbound['bytes_recv']} back; the capture "
                      f"in {CLIENT} holds {there} and {back}")
    tell("bytes", f"{number(there)} there and {number(back)} back, counted by n1 and in the capture of {CLIENT}")

    addresses = {address for pod in p.PODS.values() for address in pod.addresses}
    report = capture.check_wire(files["wire"], addresses, marker.encode())
    if report.faults:
        raise Problem("on the wire: " + "; ".join(report.faults[:3]))
    if not report.segments or report.protected_bytes < there + back:
        raise Problem(f"the capture of the wire holds {report.protected_bytes} protected bytes in {report.segments} "
                      f"segments, fewer than the {there + back} that the pods exchanged")
    tell("wire", f"{number(report.segments)} TCP segments between the nodes, each with port {capture.HBONE_PORT} at "
                 "one end")
    tell("", f"every payload byte is TLS 1.3: {number(report.handshake_bytes)} of handshake, "
             f"{number(report.protected_bytes)} in {number(report.records)} records, not less than the pods exchanged")
    for pod in (CLIENT, SERVER):
        if not capture.holds(files[pod], marker.encode()):
            raise Problem(f"the capture in {pod} does not hold the payload's marker {marker}")
    tell("secrecy", f"the payload's marker {marker} is in both pods' captures and nowhere on the wire")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bin", required=True)
    parser.add_argument("--keep", action="store_true")
    arguments = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also when the shell started us in the background
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    plan = p.Plan(name=NAME, bin=arguments.bin)
    lab = Lab(plan)
    done = False
    try:
        if lab_state.exists(NAME):
            print("quickstart: an earlier run was kept; taking its lab down first")
            Lab(plan).down()
        print("quickstart: two nodes, four pods and a wire (scripts/lab up)")
        lab.up()
        folder = lab.plan.state / "captures"
        folder.mkdir()
        print(f"quickstart: GET http://{p.PODS[SERVER].addresses[0]}:{PORT}/ from {CLIENT}, with tcpdump on the wire "
              "and in both pods")
        show(lab, folder)
        done = True
    except (LabError, CaptureError, Problem, OSError, http.client.HTTPException) as error:
        print(f"quickstart: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("quickstart: interrupted", file=sys.stderr)
    finally:
        if not (arguments.keep and done):
            Lab(plan).down()
    if not done:
        return 1
    print()
    if arguments.keep:
        print(f"The lab is still up. Captures: {plan.state}/captures   logs: scripts/lab logs --name {NAME} n1")
        print(f"  scripts/lab exec --name {NAME} n1-p2 -- ping -c 1 10.1.0.1        a command in a pod")
        print(f"  {plan.bin}/culvertctl --socket {plan.control_socket('n1')} tunnels   what a node sees")
        print(f"  scripts/lab down --name {NAME}                                    when you have seen enough")
    else:
        print("Everything is taken down again. Next: scripts/quickstart --keep, then scripts/lab exec|logs|status "
              f"--name {NAME}; README.md tells how to run a node of your own; scripts/test runs the tests.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
