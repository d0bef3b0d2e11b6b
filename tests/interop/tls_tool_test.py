"""culvert-tls against OpenSSL's s_client and s_server and Python's ssl: bulk, alerts, key updates, retries, half-close.

Needs CULVERT_BIN, the directory of the built programs (ctest sets it).
"""

import array
import fcntl
import hashlib
import json
import os
import pathlib
import re
import select
import socket
import ssl
import subprocess
import tempfile
import termios
import threading
import time
import unittest

from pki import Pki

TOOL = str(pathlib.Path(os.environ["CULVERT_BIN"]) / "culvert-tls")
CLIENT_ID = "spiffe://cluster.local/ns/apps/sa/client"
SERVER_ID = "spiffe://cluster.local/ns/apps/sa/server"
BULK_BYTES = 50 * 1000 * 1000
WAIT_S = 60


def bulk():
    """50 MB that no pattern repeats in."""
    block = hashlib.shake_256(b"culvert").digest(1000 * 1000)
    return b"".join(bytes([i]) + block[i + 1:] + block[:i] for i in range(50))


class Program:
    """A child process, its standard error collected by a thread."""

    def __init__(self, *command, stdin=subprocess.PIPE, **more):
        self.process = subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)
        self.stderr = b""
        self.reader = threading.Thread(target=self._collect, daemon=True)
        self.reader.start()

    def _collect(self):
        for line in self.process.stderr:
            self.stderr += line

    def wait_for(self, pattern):
        """The match of `pattern` in standard error, as soon as it is there."""
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:
            found = re.search(pattern, self.stderr)
            if found:
                return found
            if self.process.poll() is not None:
                self.reader.join()
                found = re.search(pattern, self.stderr)
                if found:
                    return found
                break
            time.sleep(0.01)
        raise AssertionError(f"{pattern} not in {self.stderr}")

    def type(self, text):
        """Writes to standard input, and waits until it was read: s_client and s_server take a command only when it is
        all that a read returns."""
        self.process.stdin.write(text)
        self.process.stdin.flush()
        unread = array.array("i", [1])
        until = time.monotonic() + WAIT_S
        while unread[0] > 0 and time.monotonic() < until:
            fcntl.ioctl(self.process.stdin.fileno(), termios.FIONREAD, unread)
            time.sleep(0.005)

    def finish(self):
        """Waits for the end; what is left of standard output."""
        out = self.process.stdout.read()
        self.process.wait(WAIT_S)
        self.reader.join(WAIT_S)
        return out

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass
        self.reader.join()
        self.process.stderr.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as s:
        return s.getsockname()[1]


def json_of(text):
    lines = [json.loads(line) for line in text.decode().splitlines() if line.startswith("{")]
    assert lines, text
    return lines[-1]


class TlsTool(unittest.TestCase):
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
        self.programs = []

    def tearDown(self):
        for program in self.programs:
            program.end()

    def start(self, *command, **more):
        program = Program(*command, **more)
        self.programs.append(program)
        return program

    # culvert-tls

    def tool_server(self, *options, leaf=None, count=1, **more):
        leaf = leaf or self.server
        program = self.start(TOOL, "server", "--listen", "127.0.0.1:0", "--cert", leaf.cert, "--key", leaf.key, "--ca",
                             self.pki.root, "--count", str(count), *options, **more)
        port = int(program.wait_for(rb"listening on 127\.0\.0\.1:(\d+)").group(1))
        return program, port

    def tool_client(self, port, *options, leaf=None, **more):
        leaf = leaf or self.client
        return self.start(TOOL, "client", "--connect", f"127.0.0.1:{port}", "--cert", leaf.cert, "--key", leaf.key,
                          "--ca", self.pki.root, *options, **more)

    # OpenSSL's programs

    def s_client(self, port, *options, leaf=None, certificate=True):
        leaf = leaf or self.client
        mine = ["-cert", leaf.cert, "-key", leaf.key] if certificate else []
        return self.start("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", self.pki.root, *mine,
                          *(options if "-alpn" in options else ("-alpn", "h2", *options)))

    def s_server(self, *options, leaf=None):
        leaf = leaf or self.server
        port = free_port()
        program = self.start("openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", leaf.cert,
                             "-key", leaf.key, "-CAfile", self.pki.root, "-naccept", "1",
                             *(options if "-alpn" in options else ("-alpn", "h2", *options)))
        until = time.monotonic() + WAIT_S
        while time.monotonic() < until:  # with -quiet it does not say when it listens; connecting would use it up
            with open("/proc/net/tcp", encoding="ascii") as table:
                if f"0100007F:{port:04X} 00000000:0000 0A" in table.read():
                    return program, port
            time.sleep(0.01)
        raise AssertionError(program.stderr)

    # Python's ssl

    def context(self, server, leaf=None, alpn="h2"):
        leaf = leaf or (self.server if server else self.client)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(self.pki.root)
        context.load_cert_chain(leaf.cert, leaf.key)
        context.set_alpn_protocols([alpn])
        return context

    def connect(self, port, **more):
        raw = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        return self.context(server=False, **more).wrap_socket(raw)

    def echo_bulk(self, stream):
        """Sends the bulk and reads as much back, in turns: two threads may not use an SSL object. The digest."""
        digest, got, sent = hashlib.sha256(), 0, 0
        stream.setblocking(False)
        view = memoryview(self.data)
        while got < len(self.data):
            want_write = sent < len(self.data)
            select.select([stream], [stream] if want_write else [], [], 1 if not stream.pending() else 0)
            if want_write:
                try:
                    sent += stream.send(view[sent:sent + 65536])
                except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                    pass
            try:
                piece = stream.recv(65536)
                self.assertTrue(piece, f"ended after {got} bytes")
                digest.update(piece)
                got += len(piece)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
        stream.setblocking(True)
        return digest.hexdigest()

    def relay_bulk(self, program, count=None):
        """Writes the bulk to a program's standard input, and closes it; the digest of its standard output."""
        def feed():
            program.process.stdin.write(self.data)
            program.process.stdin.flush()
            if count is None:
                program.process.stdin.close()
        feeder = threading.Thread(target=feed)
        feeder.start()
        digest, got = hashlib.sha256(), 0
        while count is None or got < count:
            piece = os.read(program.process.stdout.fileno(), 65536)
            if not piece:
                break
            digest.update(piece)
            got += len(piece)
        feeder.join()
        return digest.hexdigest()

    # Bulk

    def test_server_echoes_50_mb_to_python_with_either_backend(self):
        for aead in ("ipsec_mb", "openssl"):
            with self.subTest(aead=aead):
                program, port = self.tool_server("--echo", "--aead", aead)
                with self.connect(port) as stream:
                    self.assertEqual(stream.version(), "TLSv1.3")
                    self.assertEqual(stream.selected_alpn_protocol(), "h2")
                    self.assertEqual(self.echo_bulk(stream), self.digest)
                    stream.unwrap()
                report = json_of(program.finish())
                self.assertEqual(report["role"], "server")
                self.assertEqual(report["version"], "TLSv1.3")
                self.assertEqual(report["cipher"], "TLS_AES_256_GCM_SHA384")
                self.assertEqual(report["group"], "x25519")
                self.assertEqual(report["peer_identity"], CLIENT_ID)
                self.assertEqual(report["aead"], aead)
                self.assertEqual(report["bytes_received"], BULK_BYTES)
                self.assertEqual(report["bytes_sent"], BULK_BYTES)
                self.assertGreaterEqual(report["records_sent"], BULK_BYTES // 16384)
                self.assertIsNone(report["alert_sent"])
                self.assertIsNone(report["alert_received"])
                self.assertEqual(report["close_reason"], "close_notify")
                self.assertEqual(program.process.returncode, 0)

    def test_client_relays_50_mb_through_a_python_echo(self):
        listener = socket.create_server(("127.0.0.1", 0))
        context = self.context(server=True)

        def serve():
            raw, _ = listener.accept()
            with context.wrap_socket(raw, server_side=True) as stream:
                while piece := stream.recv(65536):
                    stream.sendall(piece)
                stream.unwrap()
        thread = threading.Thread(target=serve)
        thread.start()
        program = self.tool_client(listener.getsockname()[1], "--expect", SERVER_ID)
        self.assertEqual(self.relay_bulk(program), self.digest)
        thread.join()
        listener.close()
        program.finish()
        report = json_of(program.stderr)
        self.assertEqual(report["role"], "client")
        self.assertEqual(report["peer_identity"], SERVER_ID)
        self.assertEqual(report["bytes_sent"], BULK_BYTES)
        self.assertEqual(report["bytes_received"], BULK_BYTES)
        self.assertEqual(report["close_reason"], "close_notify")
        self.assertGreaterEqual(report["tickets_ignored"], 1)
        self.assertEqual(program.process.returncode, 0)

    def test_server_echoes_50_mb_to_s_client(self):
        server, port = self.tool_server("--echo")
        client = self.s_client(port, "-quiet")
        self.assertEqual(self.relay_bulk(client, count=BULK_BYTES), self.digest)
        client.end()  # s_client -quiet never closes by itself
        report = json_of(server.finish())
        self.assertEqual(report["bytes_received"], BULK_BYTES)
        self.assertEqual(report["close_reason"], "truncated")

    def test_client_exchanges_50_mb_with_s_server(self):
        server, port = self.s_server("-quiet", "-Verify", "3")
        client = self.tool_client(port)
        digests = {}

        def from_server():
            digests["client"] = self.relay_bulk(server, count=BULK_BYTES)
        thread = threading.Thread(target=from_server)
        thread.start()

        def to_server():
            client.process.stdin.write(self.data)
            client.process.stdin.flush()
        feeder = threading.Thread(target=to_server)
        feeder.start()
        digest, got = hashlib.sha256(), 0
        while got < BULK_BYTES:
            piece = os.read(client.process.stdout.fileno(), 65536)
            self.assertTrue(piece)
            digest.update(piece)
            got += len(piece)
        feeder.join()
        thread.join()
        self.assertEqual(digest.hexdigest(), self.digest)
        self.assertEqual(digests["client"], self.digest)

    # Key updates

    def test_updates_its_key_during_bulk_in_either_role(self):
        program, port = self.tool_server("--echo", "--key-update-every", "1000000")
        with self.connect(port) as stream:
            self.assertEqual(self.echo_bulk(stream), self.digest)
            stream.unwrap()
        report = json_of(program.finish())
        self.assertGreater(report["key_updates_sent"], 45)

        server, port = self.tool_server("--echo")
        client = self.tool_client(port, "--key-update-every", "1000000")
        self.assertEqual(self.relay_bulk(client), self.digest)
        client.finish()
        self.assertGreater(json_of(client.stderr)["key_updates_sent"], 45)
        self.assertGreater(json_of(server.finish())["key_updates_received"], 45)

    def test_follows_and_answers_the_key_updates_of_s_client(self):
        server, port = self.tool_server("--echo")
        client = self.s_client(port)
        client.type(b"first\n")
        self.read_until(client, b"first\n")
        for command in (b"k\n", b"K\n", b"k\n"):  # update, update and ask for one
            client.type(command)
            client.type(b"after " + command)
            self.read_until(client, b"after " + command)
        client.type(b"Q\n")
        report = json_of(server.finish())
        self.assertEqual(report["key_updates_received"], 3)
        self.assertEqual(report["key_updates_sent"], 1)

    def test_follows_and_answers_the_key_updates_of_s_server(self):
        server, port = self.s_server()
        client = self.tool_client(port)
        client.type(b"hello\n")
        self.read_until(server, b"hello\n")
        for command in (b"k\n", b"K\n"):
            server.type(command)
            server.type(b"after " + command)
            self.read_until(client, b"after " + command)
        client.type(b"goodbye\n")
        self.read_until(server, b"goodbye\n")
        server.type(b"Q\n")
        client.process.stdin.close()
        client.finish()
        report = json_of(client.stderr)
        self.assertEqual(report["key_updates_received"], 2)
        self.assertEqual(report["key_updates_sent"], 1)

    def read_until(self, program, text):
        got = b""
        until = time.monotonic() + WAIT_S
        while text not in got:
            self.assertLess(time.monotonic(), until, f"{text} not in {got}, {program.stderr}")
            ready, _, _ = select.select([program.process.stdout], [], [], 1)
            if ready:
                piece = os.read(program.process.stdout.fileno(), 65536)
                self.assertTrue(piece, f"{text} not in {got}, {program.stderr}")
                got += piece

    # HelloRetryRequest

    def test_asks_s_client_for_another_hello(self):
        for groups, name in (("X448:P-256", "secp256r1"), ("X448:P-384", "secp384r1")):
            server, port = self.tool_server("--echo")
            client = self.s_client(port, "-quiet", "-groups", groups)
            client.type(b"hello\n")
            self.read_until(client, b"hello\n")
            client.end()
            report = json_of(server.finish())
            self.assertTrue(report["hello_retry"])
            self.assertEqual(report["group"], name)

    def test_sends_another_hello_to_s_server(self):
        server, port = self.s_server("-quiet", "-groups", "P-256")
        client = self.tool_client(port)
        client.type(b"hello\n")
        self.read_until(server, b"hello\n")
        server.end()
        client.finish()
        report = json_of(client.stderr)
        self.assertTrue(report["hello_retry"])
        self.assertEqual(report["group"], "secp256r1")

    # Key types

    def test_works_with_rsa_and_p384_keys_in_either_role(self):
        for kind in ("rsa", "p384"):
            with self.subTest(kind=kind):
                server_leaf = self.pki.leaf("server-" + kind, uri=SERVER_ID, kind=kind)
                client_leaf = self.pki.leaf("client-" + kind, uri=CLIENT_ID, kind=kind)
                program, port = self.tool_server("--echo", leaf=server_leaf)
                with self.connect(port, leaf=client_leaf) as stream:
                    stream.sendall(b"hello")
                    self.assertEqual(stream.recv(100), b"hello")
                    stream.unwrap()
                self.assertEqual(json_of(program.finish())["close_reason"], "close_notify")
                server, port = self.tool_server("--echo", leaf=server_leaf)
                client = self.tool_client(port, leaf=client_leaf)
                client.process.stdin.write(b"hello")
                client.process.stdin.close()
                self.assertEqual(client.finish(), b"hello")
                self.assertEqual(json_of(server.finish())["peer_identity"], CLIENT_ID)

    # Alerts

    def refused_by_server(self, alert, detail, *options, server_options=(), **more):
        """s_client is refused by our server: the alert there, the alert and the sentence here."""
        server, port = self.tool_server("--echo", *server_options)
        client = self.s_client(port, "-quiet", *options, **more)
        client.wait_for(rb"SSL alert number %d\b" % alert)
        report = json_of(server.finish())
        self.assertEqual(report["alert_sent"], alert)
        self.assertEqual(report["close_reason"], "handshake_failed")
        self.assertRegex(report["detail"], detail)

    def test_server_refuses_a_client_without_certificate_with_116(self):
        self.refused_by_server(116, "tls handshake error: peer did not return a certificate", certificate=False)

    def test_server_refuses_an_expired_client_with_45(self):
        leaf = self.pki.leaf("expired", uri=CLIENT_ID, expired=True)
        self.refused_by_server(45, "certificate has expired", leaf=leaf)

    def test_server_refuses_a_client_of_another_ca_with_48(self):
        leaf = self.other_pki.leaf("stranger", uri=CLIENT_ID)
        self.refused_by_server(48, "tls handshake error: invalid peer certificate", leaf=leaf)

    def test_server_refuses_tls_1_2_with_70(self):
        self.refused_by_server(70, "tls handshake error: unsupported protocol", "-tls1_2")

    def test_server_refuses_another_alpn_with_120(self):
        self.refused_by_server(120, "tls handshake error", "-alpn", "http/1.1")

    def test_server_refuses_another_trust_domain_with_42(self):
        leaf = self.pki.leaf("foreign", uri="spiffe://other.domain/ns/apps/sa/client")
        self.refused_by_server(42, r"expected trustdomain \(cluster\.local\), got \[spiffe://other\.domain/", leaf=leaf)

    def test_server_refuses_an_unexpected_identity_with_42(self):
        self.refused_by_server(42, r"peer did not present the expected SAN \(spiffe://cluster.local/ns/x/sa/y\)",
                               server_options=("--expect", "spiffe://cluster.local/ns/x/sa/y"))

    def refused_by_client(self, alert, detail, leaf):
        server, port = self.s_server("-quiet", leaf=leaf)
        client = self.tool_client(port, "--expect", SERVER_ID)
        client.finish()
        report = json_of(client.stderr)
        self.assertEqual(report["alert_sent"], alert)
        self.assertEqual(report["close_reason"], "handshake_failed")
        self.assertRegex(report["detail"], detail)
        self.assertEqual(client.process.returncode, 1)
        server.wait_for(rb"SSL alert number %d\b" % alert)

    def test_client_refuses_wrong_servers(self):
        self.refused_by_client(45, "expired", self.pki.leaf("expired-server", uri=SERVER_ID, expired=True))
        self.refused_by_client(48, "invalid peer certificate", self.other_pki.leaf("strange-server", uri=SERVER_ID))
        self.refused_by_client(42, r"expected SAN \(spiffe://cluster.local/ns/apps/sa/server\), got \[spiffe://cl",
                               self.pki.leaf("impostor", uri="spiffe://cluster.local/ns/apps/sa/impostor"))

    def test_client_names_the_alerts_it_receives(self):
        for alert, name, options in ((70, "protocol_version", ("-tls1_2",)),
                                     (120, "no_application_protocol", ("-alpn", "http/1.1"))):
            _, port = self.s_server("-quiet", *options)
            client = self.tool_client(port)
            client.finish()
            report = json_of(client.stderr)
            self.assertEqual(report["alert_received"], alert)
            self.assertEqual(report["detail"], f"tls handshake error: received fatal alert: {name} ({alert})")
            self.assertEqual(report["close_reason"], "handshake_failed")

    def test_client_without_certificate_hears_116_after_its_own_finished(self):
        _, port = self.s_server("-quiet", "-Verify", "3")
        client = self.start(TOOL, "client", "--connect", f"127.0.0.1:{port}", "--ca", self.pki.root)
        client.finish()
        report = json_of(client.stderr)
        self.assertEqual(report["alert_received"], 116)
        self.assertEqual(report["close_reason"], "handshake_failed")

    # Ends

    def test_half_close_is_carried_both_ways(self):
        listener = socket.create_server(("127.0.0.1", 0))
        context = self.context(server=True)

        def serve():
            raw, _ = listener.accept()
            with context.wrap_socket(raw, server_side=True) as stream:
                request = b""
                while piece := stream.recv(100):
                    request += piece
                stream.sendall(b"after your end: " + request)
                stream.unwrap()
        thread = threading.Thread(target=serve)
        thread.start()
        client = self.tool_client(listener.getsockname()[1])
        client.process.stdin.write(b"request")
        client.process.stdin.close()
        self.assertEqual(client.finish(), b"after your end: request")
        thread.join()
        listener.close()

    def test_the_end_of_the_input_waits_for_what_the_peer_has_not_read_yet(self):
        listener = socket.create_server(("127.0.0.1", 0))
        context = self.context(server=True)
        got = hashlib.sha256()

        def serve():
            raw, _ = listener.accept()
            with context.wrap_socket(raw, server_side=True) as stream:
                time.sleep(1.5)
                while piece := stream.recv(65536):
                    got.update(piece)
                stream.unwrap()
        thread = threading.Thread(target=serve)
        thread.start()
        # As a file: it ends while most of it still waits for the peer.
        with tempfile.TemporaryFile() as source:
            source.write(bulk()[:BULK_BYTES // 4])
            source.seek(0)
            client = self.tool_client(listener.getsockname()[1], stdin=source)
            client.finish()
        thread.join()
        listener.close()
        self.assertEqual(got.hexdigest(), hashlib.sha256(bulk()[:BULK_BYTES // 4]).hexdigest())
        report = json_of(client.stderr)
        self.assertEqual(report["bytes_sent"], BULK_BYTES // 4)
        self.assertEqual(report["close_reason"], "close_notify")

    def test_an_end_without_close_notify_is_called_truncated(self):
        server, port = self.tool_server("--echo")
        stream = self.connect(port)
        stream.sendall(b"x")
        self.assertEqual(stream.recv(1), b"x")
        socket.socket(fileno=stream.detach()).close()
        report = json_of(server.finish())
        self.assertEqual(report["close_reason"], "truncated")

    def test_serves_connection_after_connection(self):
        server, port = self.tool_server("--echo", count=3)
        for i in range(3):
            with self.connect(port) as stream:
                stream.sendall(b"%d" % i)
                self.assertEqual(stream.recv(10), b"%d" % i)
                stream.unwrap()
        lines = server.finish().splitlines()
        self.assertEqual(len(lines), 3)
        self.assertEqual(server.process.returncode, 0)

    def test_uses_an_inherited_descriptor(self):
        ours, theirs = socket.socketpair()
        client = self.start(TOOL, "client", "--fd", str(theirs.fileno()), "--cert", self.client.cert, "--key",
                            self.client.key, "--ca", self.pki.root, pass_fds=[theirs.fileno()])
        theirs.close()
        with self.context(server=True).wrap_socket(ours, server_side=True) as stream:
            client.process.stdin.write(b"over a pair")
            client.process.stdin.close()
            self.assertEqual(stream.recv(100), b"over a pair")
            stream.unwrap()
        client.finish()
        self.assertEqual(json_of(client.stderr)["close_reason"], "close_notify")

        with socket.create_server(("127.0.0.1", 0)) as listener:
            server = self.start(TOOL, "server", "--fd", str(listener.fileno()), "--cert", self.server.cert, "--key",
                                self.server.key, "--ca", self.pki.root, "--count", "1", "--echo",
                                pass_fds=[listener.fileno()])
            with self.connect(listener.getsockname()[1]) as stream:
                stream.sendall(b"x")
                self.assertEqual(stream.recv(1), b"x")
                stream.unwrap()
            server.finish()

    def test_keylog_holds_the_secrets_for_its_owner_only(self):
        path = pathlib.Path(self.directory.name) / "keys.log"
        server, port = self.tool_server("--echo", "--keylog", str(path))
        with self.connect(port) as stream:
            stream.sendall(b"x")
            stream.recv(1)
            stream.unwrap()
        server.finish()
        self.assertRegex(path.read_text(), r"(?m)^CLIENT_TRAFFIC_SECRET_0 [0-9a-f]{64} [0-9a-f]{96}$")
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)

    def test_says_in_one_sentence_what_it_cannot_use(self):
        for options, sentence in (
                (("server", "--ca", self.pki.root), rb"give --listen or --fd"),
                (("client", "--connect", "127.0.0.1:1", "--ca", self.pki.root), rb"cannot connect to 127.0.0.1:1: "),
                (("client", "--connect", "localhost", "--ca", self.pki.root), rb"is not ADDR:PORT"),
                (("client", "--connect", "127.0.0.1:1", "--ca", "/none"), rb"cannot read '/none'"),
                (("client", "--connect", "127.0.0.1:1", "--ca", self.pki.root, "--key", self.pki.root),
                 rb"holds no private key"),
                (("client", "--connect", "127.0.0.1:1", "--ca", self.pki.root, "--cert", self.client.cert, "--key",
                  self.server.key), rb"does not belong to the first certificate"),
                (("client", "--connect", "127.0.0.1:1", "--ca", self.pki.root, "--expect", "somebody"),
                 rb"'somebody' is not spiffe://"),
                (("server", "--listen", "127.0.0.1:0", "--ca", self.pki.root, "--count", "1"),
                 rb"a server needs a certificate")):
            with self.subTest(sentence=sentence):
                done = subprocess.run([TOOL, *options], stdin=subprocess.DEVNULL, capture_output=True, timeout=WAIT_S,
                                      check=False)
                self.assertNotEqual(done.returncode, 0)
                self.assertRegex(done.stderr, sentence)


if __name__ == "__main__":
    unittest.main(verbosity=2)
