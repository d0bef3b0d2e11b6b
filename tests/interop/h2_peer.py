"""An HBONE peer on python3-h2 and Python's ssl, client or server, that sends DATA in any shape it is told to.

h2 takes a CONNECT without :path for a fault, so its header checks are off in both directions.
"""

import hashlib
import select
import ssl
import time

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings

WAIT_S = 60


def context(pki, leaf, server, alpn="h2", curve=None, version=ssl.TLSVersion.TLSv1_3):
    ctx = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    ctx.minimum_version = ctx.maximum_version = version
    if leaf:
        ctx.load_cert_chain(leaf.cert, leaf.key)
    ctx.load_verify_locations(pki.root)
    ctx.check_hostname = False
    ctx.verify_mode = ssl.CERT_REQUIRED
    if alpn:
        ctx.set_alpn_protocols([alpn])
    if curve:
        ctx.set_ecdh_curve(curve)
    return ctx


class Stream:
    """What a stream has still to say, and what was heard on it."""

    def __init__(self, number):
        self.number = number
        self.headers = None
        self.trailers = False
        self.digest = hashlib.sha256()
        self.received = 0
        self.ended = False
        self.reset = None
        self.echo = False
        self.queue = []         # of (bytes, frame size, padding or None)
        self.at = 0             # in the first of them
        self.finish = False
        self.finished = False

    def send(self, data, frame=16384, padding=None):
        self.queue.append((data, frame, padding))


class Peer:
    def __init__(self, sock, client, settings=None, on_request=None):
        self.sock = sock
        self.sock.setblocking(False)
        config = h2.config.H2Configuration(client_side=client, header_encoding="utf-8", validate_outbound_headers=False,
                                           validate_inbound_headers=False, normalize_outbound_headers=False)
        self.h2 = h2.connection.H2Connection(config)
        if settings:
            self.h2.local_settings = h2.settings.Settings(client=client, initial_values=settings)
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(16 << 20)
        self.streams = {}
        self.out = bytearray()
        self.on_request = on_request
        self.goaway = None
        self.settings = False
        self.closed = False
        self.pings = 0

    def connect(self, authority, headers=()):
        number = self.h2.get_next_available_stream_id()
        self.h2.send_headers(number, [(":method", "CONNECT"), (":authority", authority), *headers])
        self.streams[number] = Stream(number)
        return self.streams[number]

    def run(self, until):
        """Reads and writes until the condition holds."""
        give_up = time.monotonic() + WAIT_S
        while not until():
            if time.monotonic() > give_up:
                raise AssertionError("the peer waited in vain")
            moved = self._write_streams()
            self.out += self.h2.data_to_send()
            moved = self._flush() or moved
            moved = self._read() or moved
            if self.closed and not until():
                raise AssertionError("the connection ended early")
            if not moved:
                select.select([self.sock], [self.sock] if self.out else [], [], 0.1)
        self.out += self.h2.data_to_send()
        self._flush()

    def _flush(self):
        moved = False
        while self.out:
            try:
                sent = self.sock.send(self.out[:1 << 18])
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError, BlockingIOError):
                break
            except OSError:
                self.closed = True
                self.out.clear()
                break
            del self.out[:sent]
            moved = True
        return moved

    def _read(self):
        try:
            data = self.sock.recv(1 << 18)
        except (ssl.SSLWantReadError, BlockingIOError):
            return False
        except OSError as e:
            self.error = e
            data = b""
        if not data:
            self.closed = True
            return False
        for event in self.h2.receive_data(data):
            self._on_event(event)
        return True

    def _on_event(self, e):
        stream = self.streams.get(getattr(e, "stream_id", None))
        if isinstance(e, h2.events.RemoteSettingsChanged):
            self.settings = True
        elif isinstance(e, h2.events.RequestReceived):
            stream = self.streams[e.stream_id] = Stream(e.stream_id)
            stream.headers = dict(e.headers)
            self.on_request(self, stream)
        elif isinstance(e, h2.events.ResponseReceived):
            stream.headers = dict(e.headers)
        elif isinstance(e, h2.events.DataReceived):
            stream.digest.update(e.data)
            stream.received += len(e.data)
            if stream.echo:
                stream.send(e.data)
            if e.flow_controlled_length:
                self.h2.acknowledge_received_data(e.flow_controlled_length, e.stream_id)
        elif isinstance(e, h2.events.StreamEnded):
            stream.ended = True
            if stream.echo:
                stream.finish = True
        elif isinstance(e, h2.events.StreamReset):
            if stream:
                stream.reset = e.error_code
        elif isinstance(e, h2.events.ConnectionTerminated):
            self.goaway = e.error_code
        elif isinstance(e, h2.events.PingAckReceived):
            self.pings += 1

    def _write_streams(self):
        moved = False
        if len(self.out) > 1 << 20:
            return False
        for s in self.streams.values():
            if s.finished or s.reset is not None:
                continue
            while s.queue and len(self.out) < 1 << 20:
                data, frame, padding = s.queue[0]
                extra = 0 if padding is None else padding + 1
                room = min(self.h2.local_flow_control_window(s.number), self.h2.max_outbound_frame_size) - extra
                size = min(frame, len(data) - s.at)
                if room < size or (size == 0 and room < 0):
                    if room < min(size, 4096):
                        break
                    size = min(size, room)
                self.h2.send_data(s.number, data[s.at:s.at + size], pad_length=padding)
                s.at += size
                moved = True
                if s.at >= len(data):
                    s.queue.pop(0)
                    s.at = 0
            if not s.queue and s.finish:
                self.h2.end_stream(s.number)
                s.finished = moved = True
        return moved

    def close(self):
        """GOAWAY, close_notify, end."""
        try:
            self.h2.close_connection()
            self.out += self.h2.data_to_send()
            self._flush()
            self.sock.setblocking(True)
            self.sock.settimeout(5)
            if isinstance(self.sock, ssl.SSLSocket):
                self.sock.unwrap()
        except (OSError, ValueError):
            pass
        self.sock.close()
