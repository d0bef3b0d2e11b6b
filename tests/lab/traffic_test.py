#!/usr/bin/python3
"""What pods say to each other arrives: between nodes and within one, over IPv4 and IPv6."""

import concurrent.futures
import contextlib
import hashlib
import http.server
import os
import socket
import socketserver
import tempfile
import threading
import unittest

import bed as b

BED = None
HUNDRED_MB = 100 * 1000 * 1000
GIB = 1 << 30


def setUpModule():
    global BED
    BED = b.Bed.up("traffic")


def tearDownModule():
    BED.down()


class Pages(http.server.BaseHTTPRequestHandler):
    """GET gives `content`; PUT answers with the SHA-256 of what came."""
    protocol_version = "HTTP/1.1"
    content = b""

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def do_PUT(self):
        state = hashlib.sha256()
        left = int(self.headers["Content-Length"])
        while left > 0:
            piece = self.rfile.read(min(left, b.CHUNK))
            if not piece:
                raise EOFError("upload ended early")
            state.update(piece)
            left -= len(piece)
        answer = state.hexdigest().encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


class WebServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    address_family = socket.AF_INET6

    def server_bind(self):
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


class Traffic(unittest.TestCase):
    def web(self, pod, content):
        """An HTTP server in a pod for the length of the test."""
        with b.system.inside(BED.plan.netns_path(pod)):
            server = WebServer(("::", 8080), type("Content", (Pages,), {"content": content}))
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def stop():
            server.shutdown()
            server.server_close()
        return stop

    @staticmethod
    def url(address):
        return f"http://[{address}]:8080/" if ":" in address else f"http://{address}:8080/"

    def test_curl_gets_a_page(self):
        for label, client, server, address in b.PATHS:
            with self.subTest(label):
                stop = self.web(server, b"hello from afar\n")
                try:
                    done = BED.run(client, "curl", "-sS", "-m", "10", self.url(address))
                finally:
                    stop()
                self.assertEqual((done.returncode, done.stdout), (0, "hello from afar\n"), done.stderr)

    def test_a_hundred_megabytes_go_down_and_up(self):
        content = os.urandom(HUNDRED_MB)
        expected = hashlib.sha256(content).hexdigest()
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "content")
            with open(path, "wb") as handle:
                handle.write(content)
            for label, client, server, address in b.PATHS:
                with self.subTest(label):
                    stop = self.web(server, content)
                    try:
                        down = BED.run(client, "curl", "-sS", "-m", "60", "-o", os.path.join(folder, "down"),
                                       self.url(address), timeout=90)
                        up = BED.run(client, "curl", "-sS", "-m", "60", "-T", path, self.url(address), timeout=90)
                    finally:
                        stop()
                    self.assertEqual(down.returncode, 0, down.stderr)
                    with open(os.path.join(folder, "down"), "rb") as handle:
                        self.assertEqual(hashlib.file_digest(handle, "sha256").hexdigest(), expected)
                    self.assertEqual((up.returncode, up.stdout), (0, expected), up.stderr)

    def test_a_server_that_speaks_first_is_heard(self):
        def greet(stream, _peer):
            stream.sendall(b"220 ready\r\n")
            self.assertEqual(b.receive_exactly(stream, 6), b"HELO\r\n")
            stream.sendall(b"250 ok\r\n")

        for label, client, server, address in b.PATHS:
            with self.subTest(label):
                with BED.server(server, 2525, greet), BED.connect(client, address, 2525) as stream:
                    self.assertEqual(b.receive_exactly(stream, 11), b"220 ready\r\n")
                    stream.sendall(b"HELO\r\n")
                    self.assertEqual(b.receive_exactly(stream, 8), b"250 ok\r\n")

    def test_a_client_may_close_its_half_first(self):
        def answer_after_the_end(stream, _peer):
            _, digest = b.receive_all(stream)
            stream.sendall(digest.encode())
            b.send_pattern(stream, 3 << 20, seed=1)

        for label, client, server, address in b.PATHS:
            with self.subTest(label):
                with BED.server(server, 7001, answer_after_the_end), BED.connect(client, address, 7001, 20) as stream:
                    sent = b.send_pattern(stream, 5 << 20)
                    stream.shutdown(socket.SHUT_WR)
                    self.assertEqual(b.receive_exactly(stream, 64).decode(), sent)
                    self.assertEqual(b.receive_all(stream), (3 << 20, b.digest(b.pattern(3 << 20, seed=1))))

    def test_a_server_may_close_its_half_first(self):
        heard = []

        def end_first(stream, _peer):
            b.send_pattern(stream, 2 << 20, seed=2)
            stream.shutdown(socket.SHUT_WR)
            heard.append(b.receive_all(stream))

        for label, client, server, address in b.PATHS:
            with self.subTest(label):
                heard.clear()
                with BED.server(server, 7002, end_first):
                    with BED.connect(client, address, 7002, 20) as stream:
                        self.assertEqual(b.receive_all(stream), (2 << 20, b.digest(b.pattern(2 << 20, seed=2))))
                        sent = b.send_pattern(stream, 4 << 20, seed=3)
                    b.wait_for(lambda: heard, 10, "the server did not see the end of the client's half")
                self.assertEqual(heard, [(4 << 20, sent)])

    def test_two_hundred_connections_live_side_by_side(self):
        size = 64 << 10
        for label, client, server, address in b.PATHS:
            with self.subTest(label):
                with BED.server(server, 7003, b.echo):
                    streams = [BED.connect(client, address, 7003, 20) for _ in range(200)]
                    try:
                        with concurrent.futures.ThreadPoolExecutor(50) as pool:
                            def talk(index):
                                message = b"".join(b.pattern(size, seed=index))
                                streams[index].sendall(message)
                                return b.receive_exactly(streams[index], size) == message
                            self.assertTrue(all(pool.map(talk, range(200))))
                    finally:
                        for stream in streams:
                            stream.close()

    def test_one_gibibyte_arrives_unchanged(self):
        heard = []
        for label, client, server, address in b.PATHS:
            with self.subTest(label):
                heard.clear()
                with BED.server(server, 7004, lambda stream, _peer: heard.append(b.receive_all(stream))):
                    with BED.connect(client, address, 7004, 60) as stream:
                        sent = b.send_pattern(stream, GIB)
                    b.wait_for(lambda: heard, 60, "the server did not see the end")
                self.assertEqual(heard, [(GIB, sent)])

    def test_one_gibibyte_comes_back_unchanged(self):
        client, server, address = "n1-p2", "n2-p2", b.p.PODS["n2-p2"].addresses[0]
        sent = []
        with BED.server(server, 7005, lambda stream, _peer: sent.append(b.send_pattern(stream, GIB, seed=5))):
            with BED.connect(client, address, 7005, 60) as stream:
                heard = b.receive_all(stream)
        self.assertEqual(heard, (GIB, sent[0]))

    def test_the_server_sees_the_address_of_the_client_pod(self):
        seen = []

        def look(stream, peer):
            seen.append(peer)
            stream.sendall(b"!")

        for label, client, server, address in b.PATHS:
            with self.subTest(label):
                seen.clear()
                with BED.server(server, 7006, look), BED.connect(client, address, 7006) as stream:
                    b.receive_exactly(stream, 1)
                own = b.p.PODS[client].addresses[1 if ":" in address else 0]
                self.assertEqual(seen, [own])

    def test_iperf3_runs_with_one_and_sixteen_streams_both_ways(self):
        for label, client, server, address in b.PATHS:
            with self.subTest(label):
                for streams in (1, 16):
                    for reverse in (False, True):
                        with self.subTest(streams=streams, reverse=reverse):
                            rate = b.iperf3(BED, client, server, address, streams, reverse)
                            self.assertGreater(rate, 50e6)  # a stall, not a slow machine

    def test_a_service_address_leads_to_every_endpoint(self):
        names = {pod: pod.encode() for pod in b.p.SERVICE_PODS}  # each answers with its name
        for vip in b.p.SERVICE_VIPS:
            with self.subTest(vip):
                reached = set()
                with contextlib.ExitStack() as servers:
                    for pod, name in names.items():
                        servers.enter_context(BED.server(pod, b.p.SERVICE_TARGET_PORT,
                                                         lambda stream, _peer, name=name: stream.sendall(name)))
                    for _ in range(60):
                        with BED.connect("n1-p1", vip, b.p.SERVICE_PORT) as stream:
                            reached.add(b.receive_exactly(stream, 5).decode())
                        if reached == set(names):
                            break
                self.assertEqual(reached, set(names))


if __name__ == "__main__":
    unittest.main(verbosity=2)
