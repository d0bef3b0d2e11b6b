#!/usr/bin/python3
"""The capture reader that quickstart and the wire tests judge by: it passes what is right and catches each fault."""

import datetime
import pathlib
import ssl
import struct
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "scripts"))

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from labkit import access_log, capture

CLIENT, SERVER = "10.1.0.11", "10.2.0.11"
MARKER = b"0123456789abcdef0123456789abcdef"


def certificate(folder):
    """A self-signed certificate and its key in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "peer")])
    now = datetime.datetime.now(datetime.timezone.utc)
    signed = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
              .serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(hours=1))
              .sign(key, hashes.SHA256()))
    path = pathlib.Path(folder) / "peer.pem"
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                       serialization.NoEncryption())
                     + signed.public_bytes(serialization.Encoding.PEM))
    return path


def tls_exchange(pem, version, message):
    """Runs a handshake in memory, sends `message` from the client; the wire bytes of both directions."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(pem)
    client_side = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_side.check_hostname = False
    client_side.verify_mode = ssl.CERT_NONE
    client_side.minimum_version = client_side.maximum_version = version
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_side.wrap_bio(to_client, to_server)
    server = server_side.wrap_bio(to_server, to_client, server_side=True)
    wire = {"client": b"", "server": b""}
    done = {"client": False, "server": False}
    for _ in range(10):
        for name, end, out, into in (("client", client, to_server, "client"), ("server", server, to_client, "server")):
            if not done[name]:
                try:
                    end.do_handshake()
                    done[name] = True
                except ssl.SSLWantReadError:
                    pass
            pending = out.read()
            wire[into] += pending
            out.write(pending)
    assert all(done.values())
    client.write(message)
    wire["client"] += to_server.read()
    return wire["client"], wire["server"]


class PcapFile:
    """A capture written by hand: IPv4 or IPv6, TCP, Ethernet."""

    def __init__(self, path):
        self.path = path
        self._data = struct.pack("<IHHiIII", capture.PCAP_MICROSECONDS, 2, 4, 0, 0, 262144, capture.LINK_ETHERNET)
        self._clock = 0

    def segment(self, source, source_port, destination, destination_port, sequence, payload=b"", flags=0x10):
        tcp = struct.pack(">HHIIBBHHH", source_port, destination_port, sequence, 0, 5 << 4, flags, 65535, 0, 0)
        tcp += payload
        if ":" in source:
            import ipaddress
            ip = struct.pack(">IHBB", 6 << 28, len(tcp), 6, 64) + ipaddress.ip_address(source).packed \
                + ipaddress.ip_address(destination).packed
            frame = b"\x02" * 12 + struct.pack(">H", capture.ETHERTYPE_IPV6) + ip + tcp
        else:
            parts = [bytes(int(part) for part in address.split(".")) for address in (source, destination)]
            ip = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + parts[0] + parts[1]
            frame = b"\x02" * 12 + struct.pack(">H", capture.ETHERTYPE_IPV4) + ip + tcp
        self._clock += 1
        self._data += struct.pack("<IIII", self._clock, 0, len(frame), len(frame)) + frame
        return self

    def connection(self, toward, away, port=15008, sizes=1400, client=CLIENT, server=SERVER):
        """SYN, SYN-ACK, and the bytes of both directions in segments of `sizes`."""
        ends = ((client, 40000, server, port, 1000, toward), (server, port, client, 40000, 0xFFFFFF00, away))
        for number, (source, source_port, destination, destination_port, first, data) in enumerate(ends):
            self.segment(source, source_port, destination, destination_port, first, flags=0x12 if number else 0x02)
            for at in range(0, len(data), sizes):
                self.segment(source, source_port, destination, destination_port, (first + 1 + at) & 0xFFFFFFFF,
                             data[at:at + sizes])
        return self

    def write(self):
        self.path.write_bytes(self._data)
        return self.path


class WireCheck(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.pem = certificate(cls.folder.name)
        cls.message = MARKER * 2000
        cls.toward, cls.away = tls_exchange(cls.pem, ssl.TLSVersion.TLSv1_3, cls.message)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def pcap(self):
        return PcapFile(pathlib.Path(self.folder.name) / "wire.pcap")

    def check(self, pcap, marker=MARKER):
        return capture.check_wire(pcap.write(), {CLIENT, SERVER, "fd01::11", "fd02::11"}, marker)

    def test_tls_1_3_on_the_hbone_port_passes_and_is_counted(self):
        report = self.check(self.pcap().connection(self.toward, self.away))
        self.assertEqual(report.faults, [])
        self.assertEqual(report.connections, 1)
        self.assertGreaterEqual(report.protected_bytes, len(self.message))
        self.assertGreater(report.handshake_bytes, 200)

    def test_ipv6_and_segments_of_64_kb_pass(self):
        pcap = self.pcap().connection(self.toward, self.away, sizes=60000, client="fd01::11", server="fd02::11")
        report = self.check(pcap)
        self.assertEqual(report.faults, [])
        self.assertGreaterEqual(report.protected_bytes, len(self.message))

    def test_another_port_is_a_fault(self):
        report = self.check(self.pcap().connection(self.toward, self.away, port=8080))
        self.assertTrue(report.faults)

    def test_plaintext_on_the_hbone_port_is_a_fault(self):
        report = self.check(self.pcap().connection(b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"))
        self.assertIn("not a TLS record", report.faults[0])

    def test_plaintext_behind_a_good_handshake_is_a_fault(self):
        report = self.check(self.pcap().connection(self.toward + b"plain words in between", self.away))
        self.assertIn("not a TLS record", report.faults[0])

    def test_tls_1_2_is_a_fault(self):
        toward, away = tls_exchange(self.pem, ssl.TLSVersion.TLSv1_2, self.message)
        self.assertTrue(self.check(self.pcap().connection(toward, away)).faults)

    def test_a_readable_marker_is_a_fault_even_across_segments(self):
        pcap = self.pcap().connection(self.toward, self.away)
        pcap.connection(MARKER, b"", port=15008, sizes=10, client="10.1.0.12")
        self.assertIn("the payload's marker is readable on the wire", self.check(pcap).faults)

    def test_a_hole_in_the_capture_is_told_and_not_guessed_over(self):
        pcap = self.pcap().connection(self.toward[:5000], self.away)
        pcap.segment(CLIENT, 40000, SERVER, 15008, 1000 + 1 + 6000, self.toward[6000:])
        self.assertIn("misses 1000 bytes", self.check(pcap).faults[0])

    def test_retransmitted_and_reordered_segments_change_nothing(self):
        plain = self.check(self.pcap().connection(self.toward, self.away))
        pcap = self.pcap().connection(self.toward[:3000], self.away)
        for at in (6000, 3000, 0, 2500):
            pcap.segment(CLIENT, 40000, SERVER, 15008, 1001 + at, self.toward[at:at + 3000])
        pcap.segment(CLIENT, 40000, SERVER, 15008, 1001 + 9000, self.toward[9000:])
        report = self.check(pcap)
        self.assertEqual(report.faults, [])
        self.assertEqual(report.protected_bytes, plain.protected_bytes)

    def test_payload_whose_syn_was_not_captured_is_told(self):
        pcap = self.pcap().segment(CLIENT, 40000, SERVER, 15008, 7, b"\x17\x03\x03")
        self.assertIn("before its SYN", self.check(pcap).faults[0])


class AccessLog(unittest.TestCase):
    def test_a_line_is_taken_apart_and_others_are_not(self):
        line = ('2026-01-01T00:00:00.000001Z\tinfo\taccess\tconnection complete\tsrc.addr=10.1.0.11:40000 '
                'src.identity="spiffe://cluster.local/ns/demo/sa/n1-p1" direction="outbound" bytes_sent=10 '
                'error="say \\"no\\""\n')
        fields = access_log.parse(line)
        self.assertEqual(fields["message"], "connection complete")
        self.assertEqual(fields["src.identity"], "spiffe://cluster.local/ns/demo/sa/n1-p1")
        self.assertEqual(fields["bytes_sent"], "10")
        self.assertEqual(fields["error"], 'say "no"')
        self.assertIsNone(access_log.parse("2026-01-01T00:00:00Z\tinfo\tstart\thello\t\n"))


if __name__ == "__main__":
    unittest.main()
