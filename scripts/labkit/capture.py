"""Reading captures: what went over a wire, told from the packets alone.

A capture is a pcap file of Ethernet frames as tcpdump writes it. TCP payload is put together per direction (the first
copy of a byte counts, as with a receiver), and a direction can be walked as TLS 1.3 records (RFC 8446 5.1): a
handshake in the clear up to the hellos, then nothing but protected records.

Segments may be larger than the wire's MTU: the kernel hands them over before they are cut.
"""

import dataclasses
import ipaddress
import struct

PCAP_MICROSECONDS = 0xA1B2C3D4
PCAP_NANOSECONDS = 0xA1B23C4D
LINK_ETHERNET = 1

ETHERTYPE_VLAN = 0x8100
ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_IPV6 = 0x86DD
PROTOCOL_TCP = 6
IPV6_EXTENSIONS = {0, 43, 60}  # hop-by-hop, routing, destination options

FLAG_FIN = 0x01
FLAG_SYN = 0x02
FLAG_RST = 0x04

RECORD_CHANGE_CIPHER_SPEC = 20
RECORD_ALERT = 21
RECORD_HANDSHAKE = 22
RECORD_APPLICATION_DATA = 23
# RFC 8446 5.2: the ciphertext of a record is at most 2^14 + 256 bytes.
RECORD_BYTES_MAX = (1 << 14) + 256
HELLO_CLIENT = 1
HELLO_SERVER = 2
EXTENSION_SUPPORTED_VERSIONS = 43
TLS_1_3 = 0x0304


class CaptureError(Exception):
    """The file is not what this reads, or a stream is not what it should be; one sentence."""


@dataclasses.dataclass(frozen=True)
class Segment:
    """One TCP segment of a capture."""
    time: float
    source: str
    source_port: int
    destination: str
    destination_port: int
    sequence: int
    flags: int
    payload: bytes

    @property
    def direction(self):
        return (self.source, self.source_port, self.destination, self.destination_port)


def frames(path):
    """Yields (time, frame bytes) of a pcap file. A last frame that was cut off by the end of the file is left out."""
    with open(path, "rb") as handle:
        data = handle.read()
    if len(data) < 24:
        raise CaptureError(f"{path} holds no capture")
    for order in ("<", ">"):
        magic, _, _, _, _, _, link = struct.unpack_from(order + "IHHiIII", data)
        if magic in (PCAP_MICROSECONDS, PCAP_NANOSECONDS):
            break
    else:
        raise CaptureError(f"{path} is not a pcap file")
    if link & 0xFFFF != LINK_ETHERNET:
        raise CaptureError(f"{path} was not captured from an Ethernet device (link type {link})")
    fraction = 1e-9 if magic == PCAP_NANOSECONDS else 1e-6
    offset = 24
    while offset + 16 <= len(data):
        seconds, part, kept, length = struct.unpack_from(order + "IIII", data, offset)
        offset += 16
        if offset + kept > len(data):
            return
        if kept < length:
            raise CaptureError(f"{path} was captured with a snap length: frames are cut")
        yield seconds + part * fraction, data[offset:offset + kept]
        offset += kept


def _ip_payload(frame):
    """(source, destination, protocol, payload) of an IP packet that is no fragment; None for other frames."""
    kind, offset = struct.unpack_from(">H", frame, 12)[0], 14
    if kind == ETHERTYPE_VLAN:
        kind, offset = struct.unpack_from(">H", frame, 16)[0], 18
    if kind == ETHERTYPE_IPV4:
        header = (frame[offset] & 0x0F) * 4
        length = struct.unpack_from(">H", frame, offset + 2)[0] or len(frame) - offset  # 0: larger than 64 KB by GSO
        if struct.unpack_from(">H", frame, offset + 6)[0] & 0x3FFF:
            return None
        source, destination = frame[offset + 12:offset + 16], frame[offset + 16:offset + 20]
        return source, destination, frame[offset + 9], frame[offset + header:offset + length]
    if kind == ETHERTYPE_IPV6:
        length = struct.unpack_from(">H", frame, offset + 4)[0] or len(frame) - offset - 40
        protocol, start, end = frame[offset + 6], offset + 40, offset + 40 + length
        while protocol in IPV6_EXTENSIONS:
            protocol, start = frame[start], start + 8 + frame[start + 1] * 8
        return frame[offset + 8:offset + 24], frame[offset + 24:offset + 40], protocol, frame[start:end]
    return None


def segments(path):
    """Yields every TCP segment of a capture, in order."""
    for time, frame in frames(path):
        if len(frame) < 34:
            continue
        packet = _ip_payload(frame)
        if packet is None or packet[2] != PROTOCOL_TCP:
            continue
        source, destination, _, tcp = packet
        source_port, destination_port, sequence = struct.unpack_from(">HHI", tcp)
        yield Segment(time=time, source=str(ipaddress.ip_address(source)), source_port=source_port,
                      destination=str(ipaddress.ip_address(destination)), destination_port=destination_port,
                      sequence=sequence, flags=tcp[13], payload=tcp[(tcp[12] >> 4) * 4:])


class Stream:
    """The payload of one direction of one TCP connection, from its SYN on."""

    def __init__(self, direction, initial_sequence):
        self.direction = direction
        self._initial = initial_sequence
        self._pieces = {}  # offset -> longest payload seen there

    def add(self, sequence, payload):
        offset = (sequence - self._initial - 1) & 0xFFFFFFFF
        if offset >= 1 << 31:
            return  # keep-alive probes lie before the first byte
        if len(payload) > len(self._pieces.get(offset, b"")):
            self._pieces[offset] = payload

    def bytes(self):
        """The stream put together. CaptureError if the capture has a hole before the last byte."""
        whole = bytearray()
        for offset in sorted(self._pieces):
            piece = self._pieces[offset]
            if offset > len(whole):
                raise CaptureError(f"{self}: the capture misses {offset - len(whole)} bytes at {len(whole)}")
            whole += piece[len(whole) - offset:]
        return bytes(whole)

    def __str__(self):
        source, source_port, destination, destination_port = self.direction
        return f"{source}:{source_port} to {destination}:{destination_port}"


def streams(captured):
    """Puts segments together: {direction: [Stream, …]}, one Stream per SYN. CaptureError for payload of a connection
    whose beginning the capture does not hold."""
    found = {}
    for segment in captured:
        if segment.flags & FLAG_SYN:
            previous = found.setdefault(segment.direction, [])
            if not previous or previous[-1]._initial != segment.sequence:
                previous.append(Stream(segment.direction, segment.sequence))
        if segment.payload:
            if segment.direction not in found:
                raise CaptureError(f"payload from {segment.source}:{segment.source_port} "
                                   f"to {segment.destination}:{segment.destination_port} before its SYN was seen")
            found[segment.direction][-1].add(segment.sequence, segment.payload)
    return found


@dataclasses.dataclass
class Records:
    """What walking a direction as TLS found, in records and bytes (headers included)."""
    records: int = 0
    handshake_bytes: int = 0
    protected_bytes: int = 0
    loose_bytes: int = 0  # of a last record whose end the capture does not hold


def walk_records(data, label):
    """Walks the bytes of one direction as TLS 1.3. CaptureError at the first byte that belongs to no record."""
    found = Records()
    offset = 0
    hello_seen = False
    while offset < len(data):
        if len(data) - offset < 5:
            found.loose_bytes = len(data) - offset
            break
        kind, major, minor, length = struct.unpack_from(">BBBH", data, offset)
        where = f"{label}, byte {offset}"
        if major != 3 or minor not in (1, 3) or length > RECORD_BYTES_MAX:
            raise CaptureError(f"{where}: not a TLS record ({data[offset:offset + 16].hex()})")
        body = data[offset + 5:offset + 5 + length]
        if kind == RECORD_HANDSHAKE:
            if not hello_seen or body[:1] in (bytes([HELLO_CLIENT]), bytes([HELLO_SERVER])):
                _check_hello(body, where)
                hello_seen = True
            else:
                raise CaptureError(f"{where}: a handshake message in the clear behind the hello")
            found.handshake_bytes += 5 + len(body)
        elif kind == RECORD_APPLICATION_DATA:
            if not hello_seen:
                raise CaptureError(f"{where}: a protected record before any hello")
            found.protected_bytes += 5 + len(body)
        elif kind == RECORD_CHANGE_CIPHER_SPEC and body == b"\x01":
            found.handshake_bytes += 5 + len(body)
        elif kind == RECORD_ALERT and length == 2:
            found.handshake_bytes += 5 + len(body)
        else:
            raise CaptureError(f"{where}: TLS 1.3 has no record of type {kind} and {length} bytes")
        if len(body) < length:
            found.loose_bytes = 5 + len(body)
            break
        found.records += 1
        offset += 5 + length
    return found


def _check_hello(body, where):
    """A hello that offers or selects TLS 1.3 (RFC 8446 4.2.1)."""
    kind = body[0] if body else None
    if kind not in (HELLO_CLIENT, HELLO_SERVER):
        raise CaptureError(f"{where}: the first message is no hello")
    offset = 4 + 2 + 32
    offset += 1 + body[offset]  # session id
    if kind == HELLO_CLIENT:
        offset += 2 + struct.unpack_from(">H", body, offset)[0]  # cipher suites
        offset += 1 + body[offset]  # compression methods
    else:
        offset += 3
    end = offset + 2 + struct.unpack_from(">H", body, offset)[0]
    offset += 2
    while offset + 4 <= min(end, len(body)):
        extension, length = struct.unpack_from(">HH", body, offset)
        value = body[offset + 4:offset + 4 + length]
        if extension == EXTENSION_SUPPORTED_VERSIONS:
            versions = value[1:] if kind == HELLO_CLIENT else value
            if TLS_1_3 in struct.unpack(f">{len(versions) // 2}H", versions):
                return
        offset += 4 + length
    raise CaptureError(f"{where}: the hello does not speak of TLS 1.3")


@dataclasses.dataclass
class WireReport:
    """What a capture between nodes shows."""
    segments: int = 0
    connections: int = 0
    records: int = 0
    handshake_bytes: int = 0
    protected_bytes: int = 0
    faults: list = dataclasses.field(default_factory=list)  # sentences; empty: every claim holds


HBONE_PORT = 15008


def check_wire(path, addresses, marker=None):
    """Judges a capture of the wire: every TCP segment to or from one of `addresses` has 15008 as one port, and every
    payload byte lies in a TLS 1.3 handshake or record. With a marker, no frame of the capture may hold it."""
    report = WireReport()
    inside = []
    for segment in segments(path):
        if segment.source not in addresses and segment.destination not in addresses:
            continue
        report.segments += 1
        if HBONE_PORT not in (segment.source_port, segment.destination_port):
            report.faults.append(f"segment from {segment.source}:{segment.source_port} to "
                                 f"{segment.destination}:{segment.destination_port} at {segment.time:.6f}")
        inside.append(segment)
    try:
        for found in streams(inside).values():
            for stream in found:
                if stream.direction[3] == HBONE_PORT:
                    report.connections += 1
                records = walk_records(stream.bytes(), str(stream))
                report.records += records.records
                report.handshake_bytes += records.handshake_bytes
                report.protected_bytes += records.protected_bytes
    except CaptureError as error:
        report.faults.append(str(error))
    if marker is not None and holds(path, marker):
        report.faults.append("the payload's marker is readable on the wire")
    return report


def holds(path, marker):
    """Whether the marker stands anywhere in the capture: in a frame, or across the segments of a stream."""
    captured = list(segments(path))
    if any(marker in frame for _, frame in frames(path)):
        return True
    payloads = {}
    for segment in captured:
        payloads.setdefault(segment.direction, []).append(segment.payload)
    return any(marker in b"".join(parts) for parts in payloads.values())


def payload_bytes(path, port):
    """TCP payload bytes of a capture, by direction: (to the port, from the port)."""
    toward = away = 0
    for found in streams(segments(path)).values():
        for stream in found:
            if stream.direction[3] == port:
                toward += len(stream.bytes())
            elif stream.direction[1] == port:
                away += len(stream.bytes())
    return toward, away
