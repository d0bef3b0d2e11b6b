"""culvert-hbone against python3-h2 with Python's ssl, in both roles: bulk, many streams, odd frames, refusals, alerts.

Needs CULVERT_BIN, the directory of the built programs (ctest sets it).
"""

import hashlib
import pathlib
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest

import h2.errors
import h2.settings

from h2_peer import Peer, Stream, context
from pki import Pki
from programs import BIN, Program

TOOL = BIN / "culvert-hbone"
CLIENT_ID = "spiffe://cluster.local/ns/apps/sa/client"
SERVER_ID = "spiffe://cluster.local/ns/apps/sa/server"
AUTHORITY = "10.0.0.2:8080"


def bulk():
    """50 MB that no pattern repeats in."""
    block = hashlib.shake_256(b"hbone").digest(1000 * 1000)
    return b"".join(bytes([i]) + block[i + 1:] + block[:i] for i in range(50))


class HbonePython(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.pki = Pki(cls.directory.name)
        cls.other_pki = Pki(cls.directory.name, name="Another root")
        cls.client = cls.pki.leaf("client", uri=CLIENT_ID)
        cls.server = cls.pki.leaf("server", uri=SERVER_ID)
        cls.data = bulk()
        cls.digest = hashlib.sha256(cls.data).hexdigest()

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def setUp(self):
        self.programs, self.sockets, self.threads = [], [], []
        self.failures = []

    def tearDown(self):
        for program in self.programs:
            program.end()
        for s in self.sockets:
            s.close()
        for t in self.threads:
            t.join(5)
        self.assertEqual(self.failures, [])

    def start(self, *command, **more):
        self.programs.append(Program(*command, **more))
        return self.programs[-1]

    # culvert-hbone as server, Python as client

    def serve(self, *options, to="echo", count=1):
        return self.start(TOOL, "serve", "--listen", "127.0.0.1:0", "--to", to, "--cert", self.server.cert, "--key",
                          self.server.key, "--ca", self.pki.root, "--count", count, *options)

    def python_client(self, program, leaf=None, **more):
        raw = socket.create_connection(("127.0.0.1", program.port()))
        self.sockets.append(raw)
        return context(self.pki, leaf or self.client, server=False, **more).wrap_socket(raw)

    def peer(self, program, settings=None, **more):
        sock = self.python_client(program, **more)
        self.sockets.append(sock)
        return Peer(sock, client=True, settings=settings)

    def test_python_client_bulk_both_ways(self):
        program = self.serve("--key-update-every", "10000000")
        peer = self.peer(program)
        stream = peer.connect(AUTHORITY, [("baggage", "k8s.namespace.name=apps,service.name=py")])
        stream.send(self.data)
        stream.finish = True
        peer.run(lambda: stream.ended)
        self.assertEqual(stream.headers[":status"], "200")
        self.assertEqual(stream.digest.hexdigest(), self.digest)
        peer.close()
        self.assertEqual(program.finish(), 0)
        line, = program.lines("stream")
        self.assertEqual((line["end"], line["bytes_sent"], line["bytes_received"]), ("clean", 50000000, 50000000))
        self.assertEqual((line["authority"], line["peer_identity"]), (AUTHORITY, CLIENT_ID))
        self.assertEqual(line["baggage"], {"namespace": "apps", "service": "py"})
        connection, = program.lines("connection")
        self.assertGreaterEqual(connection["key_updates_sent"], 4)
        self.assertEqual(connection["cipher"], "TLS_AES_256_GCM_SHA384")
        self.assertEqual(connection["goaway_received"], {"code": "NO_ERROR", "last_stream": 0})

    def test_python_client_hundred_streams(self):
        program = self.serve()
        peer = self.peer(program)
        peer.run(lambda: peer.settings)
        self.assertEqual(peer.h2.remote_settings.max_concurrent_streams, 200)
        self.assertEqual(peer.h2.remote_settings.header_table_size, 0)
        self.assertEqual(peer.h2.remote_settings.initial_window_size, 65536)
        streams = [peer.connect(AUTHORITY) for _ in range(100)]
        for i, s in enumerate(streams):
            s.send(self.data[i * 50000:(i + 1) * 50000])
            s.finish = True
        peer.run(lambda: all(s.ended for s in streams))
        for i, s in enumerate(streams):
            self.assertEqual(s.digest.digest(), hashlib.sha256(self.data[i * 50000:(i + 1) * 50000]).digest())
        peer.close()
        self.assertEqual(program.finish(), 0)
        self.assertEqual({line["end"] for line in program.lines("stream")}, {"clean"})
        self.assertEqual(len(program.lines("stream")), 100)

    def test_python_client_padded_one_byte_and_empty_data(self):
        program = self.serve()
        peer = self.peer(program)
        stream = peer.connect(AUTHORITY)
        sent = bytearray()
        for i in range(60):
            for data, frame, padding in ((self.data[i:i + 1], 1, None), (b"", 0, None),
                                         (self.data[i:i + 700], 700, 255), (self.data[i:i + 50], 1, 0), (b"", 0, 7),
                                         (self.data[:16000], 16000, 100)):
                stream.send(data, frame, padding)
                sent += data
        stream.finish = True
        peer.run(lambda: stream.ended)
        self.assertEqual(stream.received, len(sent))
        self.assertEqual(stream.digest.digest(), hashlib.sha256(sent).digest())
        peer.close()
        self.assertEqual(program.finish(), 0)

    def test_python_client_hello_retry_and_small_windows(self):
        # A client that offers P-384 only meets a server whose first choice it is not.
        program = self.serve("--aead", "openssl")
        peer = self.peer(program, settings={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: 1000}, curve="secp384r1")
        stream = peer.connect(AUTHORITY)
        stream.send(self.data[:300000])
        stream.finish = True
        peer.run(lambda: stream.ended)
        self.assertEqual(stream.digest.digest(), hashlib.sha256(self.data[:300000]).digest())
        peer.close()
        program.finish()
        connection, = program.lines("connection")
        self.assertEqual(connection["aead"], "openssl")
        self.assertEqual(connection["peer_settings"]["initial_window_size"], 1000)

    def test_python_client_refusals(self):
        with socket.create_server(("127.0.0.1", 0)) as s:
            closed = s.getsockname()[1]
        program = self.serve(to=f"127.0.0.1:{closed}")
        peer = self.peer(program)
        unreachable = peer.connect(AUTHORITY)
        no_port = peer.connect("10.0.0.2")
        peer.run(lambda: unreachable.ended and no_port.ended)
        self.assertEqual((unreachable.headers[":status"], no_port.headers[":status"]), ("503", "400"))
        get = peer.h2.get_next_available_stream_id()
        peer.h2.send_headers(get, [(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "a:1")])
        path = get + 2
        peer.h2.send_headers(
            path, [(":method", "CONNECT"), (":scheme", "https"), (":path", "/"), (":authority", "a:1")])
        peer.streams[get], peer.streams[path] = Stream(get), Stream(path)
        peer.run(lambda: peer.streams[get].ended and peer.streams[path].reset is not None)
        self.assertEqual(peer.streams[get].headers[":status"], "400")
        self.assertEqual(peer.streams[path].reset, h2.errors.ErrorCodes.PROTOCOL_ERROR)
        peer.close()
        program.finish()
        self.assertEqual({line["end"] for line in program.lines("stream")}, {"refused"})

    def test_python_client_reset_reaches_the_local_end(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.sockets.append(listener)
        program = self.serve(to=f"127.0.0.1:{listener.getsockname()[1]}")
        peer = self.peer(program)
        stream = peer.connect(AUTHORITY)
        peer.run(lambda: stream.headers)
        local, _ = listener.accept()
        self.sockets.append(local)
        peer.h2.reset_stream(stream.number, h2.errors.ErrorCodes.CANCEL)
        peer.run(lambda: True)
        local.settimeout(10)
        with self.assertRaises(ConnectionResetError):
            local.recv(1)
        line, = program.wait_for_lines("stream", 1)
        self.assertEqual((line["end"], line["rst_received"]), ("reset", "CANCEL"))

    def test_local_reset_reaches_the_python_client(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.sockets.append(listener)
        program = self.serve(to=f"127.0.0.1:{listener.getsockname()[1]}")
        peer = self.peer(program)
        stream = peer.connect(AUTHORITY)
        peer.run(lambda: stream.headers)
        local, _ = listener.accept()
        local.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        local.close()
        peer.run(lambda: stream.reset is not None)
        self.assertEqual(stream.reset, h2.errors.ErrorCodes.CANCEL)
        self.assertFalse(stream.ended)

    def test_half_close_with_a_python_client(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.sockets.append(listener)
        program = self.serve(to=f"127.0.0.1:{listener.getsockname()[1]}")
        peer = self.peer(program)
        stream = peer.connect(AUTHORITY)
        stream.send(b"question")
        stream.finish = True
        peer.run(lambda: stream.finished and stream.headers)
        local, _ = listener.accept()
        self.sockets.append(local)
        local.settimeout(10)
        self.assertEqual(local.recv(100, socket.MSG_WAITALL), b"question")  # up to the FIN
        local.sendall(b"answer")
        local.close()
        peer.run(lambda: stream.ended)
        self.assertEqual(stream.received, 6)

    def test_refused_handshakes(self):
        cases = {
            "no certificate": ({"leaf": None}, 116, "certificate"),
            "expired": ({"leaf": self.pki.leaf("expired", uri=CLIENT_ID, expired=True)}, 45, "expired"),
            "unknown CA": ({"leaf": self.other_pki.leaf("stranger", uri=CLIENT_ID)}, 48, ""),
            "TLS 1.2": ({"leaf": self.client, "version": ssl.TLSVersion.TLSv1_2}, 70, ""),
            "wrong ALPN": ({"leaf": self.client, "alpn": "http/1.1"}, 120, ""),
            "other trust domain": (
                {"leaf": self.pki.leaf("foreign", uri="spiffe://other.domain/ns/apps/sa/client")}, 42, "trustdomain"),
        }
        program = self.serve(count=len(cases))
        for name, (options, alert, word) in cases.items():
            with self.subTest(name):
                before = len(program.lines("connection"))
                raw = socket.create_connection(("127.0.0.1", program.port()))
                self.sockets.append(raw)
                with self.assertRaises((ssl.SSLError, ConnectionError)):
                    s = context(self.pki, server=False, **options).wrap_socket(raw)
                    self.sockets.append(s)
                    while s.recv(1 << 16):  # SETTINGS do not come: the alert does
                        pass
                    raise ConnectionError("ended")
                for s in self.sockets:
                    s.close()
                line = program.wait_for_lines("connection", before + 1)[-1]
                self.assertEqual(line["alert_sent"], alert, line)
                self.assertFalse(line["settings_received"])
                self.assertIn(word, line["detail"])

    def test_without_tls(self):
        program = self.start(TOOL, "serve", "--plain", "--listen", "127.0.0.1:0", "--to", "echo", "--count", 1)
        sock = socket.create_connection(("127.0.0.1", program.port()))
        self.sockets.append(sock)
        peer = Peer(sock, client=True)
        stream = peer.connect(AUTHORITY)
        stream.send(self.data[:2000000])
        stream.finish = True
        peer.run(lambda: stream.ended)
        self.assertEqual(stream.digest.digest(), hashlib.sha256(self.data[:2000000]).digest())
        peer.close()
        program.finish()

    # culvert-hbone as client, Python as server

    def python_server(self, on_request, leaf=None, connections=1, **more):
        """Serves in a thread; the port. Each connection is driven until its peer leaves."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.sockets.append(listener)
        ctx = context(self.pki, leaf or self.server, server=True, **more)

        def work():
            try:
                for _ in range(connections):
                    raw, _ = listener.accept()
                    self.sockets.append(raw)
                    sock = ctx.wrap_socket(raw, server_side=True)
                    self.sockets.append(sock)
                    peer = Peer(sock, client=False, on_request=on_request)
                    try:
                        peer.run(lambda: peer.goaway is not None or peer.closed)
                    finally:
                        peer.close()
            except ssl.SSLError:
                pass  # a test that refuses the handshake
            except Exception as e:  # told by tearDown
                self.failures.append(repr(e))

        self.threads.append(threading.Thread(target=work, daemon=True))
        self.threads[-1].start()
        return listener.getsockname()[1]

    def connect(self, port, *options, **more):
        return self.start(TOOL, "connect", "--via", f"127.0.0.1:{port}", "--authority", AUTHORITY, "--cert",
                          self.client.cert, "--key", self.client.key, "--ca", self.pki.root, "--expect", SERVER_ID,
                          *options, **more)

    @staticmethod
    def echo(peer, stream):
        peer.h2.send_headers(stream.number, [(":status", "200"), ("baggage", "service.name=py")])
        stream.echo = True

    def test_python_server_bulk_both_ways(self):
        seen = []

        def on_request(peer, stream):
            seen.append(stream.headers)
            self.echo(peer, stream)

        port = self.python_server(on_request, curve="prime256v1")  # a HelloRetryRequest: our share is X25519
        given, got = (pathlib.Path(self.directory.name, name) for name in ("given", "got"))
        given.write_bytes(self.data)
        with given.open("rb") as stdin, got.open("wb") as stdout:
            program = self.connect(port, "--baggage", "k8s.namespace.name=apps", "--forwarded", 'for="10.0.0.1:1"',
                                   stdin=stdin, stdout=stdout)
        self.assertEqual(program.finish(), 0)
        line, = program.lines("stream")
        self.assertEqual((line["end"], line["status"], line["bytes_received"]), ("clean", 200, 50000000))
        self.assertEqual(line["baggage"], {"service": "py"})
        self.assertEqual(hashlib.sha256(got.read_bytes()).hexdigest(), self.digest)
        connection, = program.lines("connection")
        self.assertEqual((connection["hello_retry"], connection["group"]), (True, "secp256r1"))
        self.assertEqual(connection["goaway_sent"], "NO_ERROR")
        # Nothing but the pseudo-headers of CONNECT, and what was asked for.
        self.assertEqual(seen[0][":authority"], AUTHORITY)
        self.assertEqual([k for k in seen[0] if k.startswith(":")], [":method", ":authority"])
        self.assertEqual(seen[0]["baggage"], "k8s.namespace.name=apps")
        self.assertEqual(seen[0]["forwarded"], 'for="10.0.0.1:1"')
        self.assertEqual(len(seen[0]["traceparent"]), 55)

    def test_python_server_hundred_streams(self):
        port = self.python_server(self.echo)
        program = self.connect(port, "--listen", "127.0.0.1:0", "--count", 100)
        local_port = program.port()
        results = [None] * 100

        def one(i):
            data = self.data[i * 30000:(i + 1) * 30000]
            with socket.create_connection(("127.0.0.1", local_port)) as s:
                s.sendall(data)
                s.shutdown(socket.SHUT_WR)
                got = bytearray()
                while chunk := s.recv(1 << 16):
                    got += chunk
            results[i] = bytes(got) == data

        threads = [threading.Thread(target=one, args=(i,)) for i in range(100)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(60)
        self.assertEqual(results, [True] * 100)
        self.assertEqual(program.finish(), 0)
        self.assertEqual(len(program.lines("stream")), 100)
        self.assertEqual(len(program.lines("connection")), 1)

    def test_python_server_padded_one_byte_and_empty_data(self):
        sent = bytearray()

        def on_request(peer, stream):
            peer.h2.send_headers(stream.number, [(":status", "200")])
            for i in range(60):
                for data, frame, padding in ((self.data[i:i + 1], 1, None), (b"", 0, None),
                                             (self.data[i:i + 700], 700, 255), (b"", 0, 7),
                                             (self.data[:16000], 16000, 100)):
                    stream.send(data, frame, padding)
                    sent.extend(data)
            stream.finish = True

        program = self.connect(self.python_server(on_request))
        self.assertEqual(program.finish(), 0)
        self.assertEqual(hashlib.sha256(bytes(program.stdout)).digest(), hashlib.sha256(sent).digest())

    def test_python_server_refuses_and_resets(self):
        def refuse(peer, stream):
            peer.h2.send_headers(stream.number, [(":status", "401")], end_stream=True)

        program = self.connect(self.python_server(refuse))
        self.assertEqual(program.finish(), 1)
        line, = program.lines("stream")
        self.assertEqual((line["end"], line["status"], line["detail"]),
                         ("refused", 401, "http status: 401 Unauthorized"))

        def reset(peer, stream):
            peer.h2.send_headers(stream.number, [(":status", "200")])
            peer.h2.send_data(stream.number, b"some")
            peer.h2.reset_stream(stream.number, h2.errors.ErrorCodes.CANCEL)

        program = self.connect(self.python_server(reset), stdin=subprocess.PIPE)
        self.assertEqual(program.finish(), 1)
        line, = program.lines("stream")
        self.assertEqual((line["end"], line["rst_received"]), ("reset", "CANCEL"))

    def test_python_server_with_a_wrong_identity_is_refused(self):
        wrong = self.pki.leaf("wrong", uri="spiffe://cluster.local/ns/apps/sa/other")
        program = self.connect(self.python_server(self.echo, leaf=wrong))
        self.assertEqual(program.finish(), 1)
        connection, = program.lines("connection")
        self.assertEqual(connection["alert_sent"], 42)
        self.assertIn("peer did not present the expected SAN", connection["detail"])


if __name__ == "__main__":
    unittest.main()
