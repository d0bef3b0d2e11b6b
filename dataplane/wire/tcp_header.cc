// TCP header and options, both ways. The parser is a checked walk: whatever the bytes say, it reads only inside the
// header, and an option that it does not know, or whose length does not fit its kind, is skipped (RFC 9293 3.1: "A TCP
// implementation MUST (MUST-6) ignore without error any TCP Option it does not implement").
#include "wire/tcp_header.h"

#include "base/check.h"
#include "base/endian.h"

namespace culvert::wire {

namespace {

// Option kinds (RFC 9293 3.2, RFC 2018, RFC 7323).
constexpr uint8_t kEnd = 0, kNop = 1, kMss = 2, kWindowScale = 3, kSackPermitted = 4, kSack = 5, kTimestamps = 8;

constexpr uint8_t kFlagFin = 0x01, kFlagSyn = 0x02, kFlagRst = 0x04, kFlagPsh = 0x08, kFlagAck = 0x10, kFlagUrg = 0x20,
                  kFlagEce = 0x40, kFlagCwr = 0x80;

void parse_option(uint8_t kind, ByteView body, TcpOptions& options) {
  switch (kind) {
    case kMss:
      if (body.size() == 2) options.mss = load_be16(body.data());
      return;
    case kWindowScale:
      if (body.size() == 1) options.window_scale = body[0];
      return;
    case kSackPermitted:
      if (body.empty()) options.sack_permitted = true;
      return;
    case kTimestamps:
      if (body.size() == 8) options.timestamps = {load_be32(body.data()), load_be32(body.data() + 4)};
      return;
    case kSack:
      if (body.empty() || body.size() % 8 != 0) return;
      options.sack_count = 0;
      for (size_t at = 0; at < body.size() && options.sack_count < options.sack.size(); at += 8) {
        options.sack[options.sack_count++] = {load_be32(body.data() + at), load_be32(body.data() + at + 4)};
      }
      return;
    default:
      return;
  }
}

}  // namespace

Result<ParsedTcpHeader, TcpParseError> parse_tcp(ByteView bytes) {
  if (bytes.size() < kTcpHeaderBytesMin) return TcpParseError::kTooShort;
  const uint8_t* p = bytes.data();
  const auto header_bytes = static_cast<uint16_t>((p[12] >> 4) * 4);
  if (header_bytes < kTcpHeaderBytesMin || header_bytes > bytes.size()) return TcpParseError::kBadOffset;

  ParsedTcpHeader parsed{};
  parsed.header_bytes = header_bytes;
  TcpHeader& h = parsed.header;
  h.source_port = load_be16(p);
  h.destination_port = load_be16(p + 2);
  h.sequence = load_be32(p + 4);
  h.acknowledgment = load_be32(p + 8);
  const uint8_t flags = p[13];
  h.fin = flags & kFlagFin;
  h.syn = flags & kFlagSyn;
  h.rst = flags & kFlagRst;
  h.psh = flags & kFlagPsh;
  h.ack = flags & kFlagAck;
  h.urg = flags & kFlagUrg;
  h.ece = flags & kFlagEce;
  h.cwr = flags & kFlagCwr;
  h.window = load_be16(p + 14);
  h.checksum = load_be16(p + 16);
  h.urgent_pointer = load_be16(p + 18);

  for (uint16_t at = kTcpHeaderBytesMin; at < header_bytes;) {
    const uint8_t kind = p[at];
    if (kind == kEnd) break;
    if (kind == kNop) {
      ++at;
      continue;
    }
    if (at + 2 > header_bytes) return TcpParseError::kBadOption;
    const uint8_t length = p[at + 1];
    if (length < 2 || at + length > header_bytes) return TcpParseError::kBadOption;
    parse_option(kind, bytes.subspan(at + 2u, length - 2u), h.options);
    at = static_cast<uint16_t>(at + length);
  }
  return parsed;
}

uint16_t tcp_header_bytes(const TcpHeader& header) {
  const TcpOptions& o = header.options;
  unsigned bytes = kTcpHeaderBytesMin;
  if (o.mss) bytes += 4;
  if (o.timestamps)
    bytes += 12;  // with two NOPs, or with SACK-permitted in their place
  else if (o.sack_permitted)
    bytes += 4;  // NOP NOP SACK-permitted
  if (o.sack_permitted && o.timestamps && !header.syn) bytes += 4;
  if (o.window_scale) bytes += 4;  // NOP and 3 bytes
  if (o.sack_count) bytes += 4u + 8u * o.sack_count;
  return static_cast<uint16_t>(bytes);
}

void emit_tcp(const TcpHeader& header, MutableByteView to) {
  const uint16_t header_bytes = tcp_header_bytes(header);
  DP_CHECK(header_bytes <= kTcpHeaderBytesMax && to.size() >= header_bytes);
  uint8_t* p = to.data();
  store_be16(p, header.source_port);
  store_be16(p + 2, header.destination_port);
  store_be32(p + 4, header.sequence);
  store_be32(p + 8, header.acknowledgment);
  p[12] = static_cast<uint8_t>((header_bytes / 4) << 4);
  p[13] = static_cast<uint8_t>((header.fin ? kFlagFin : 0) | (header.syn ? kFlagSyn : 0) | (header.rst ? kFlagRst : 0) |
                               (header.psh ? kFlagPsh : 0) | (header.ack ? kFlagAck : 0) | (header.urg ? kFlagUrg : 0) |
                               (header.ece ? kFlagEce : 0) | (header.cwr ? kFlagCwr : 0));
  store_be16(p + 14, header.window);
  store_be16(p + 16, header.checksum);
  store_be16(p + 18, header.urgent_pointer);

  const TcpOptions& o = header.options;
  uint8_t* q = p + kTcpHeaderBytesMin;
  const auto put = [&q](std::initializer_list<uint8_t> bytes) {
    for (const uint8_t b : bytes) *q++ = b;
  };
  if (o.mss) {
    put({kMss, 4});
    store_be16(q, *o.mss);
    q += 2;
  }
  // On a SYN the two bytes that pad the timestamps hold SACK-permitted, as Linux sends it.
  const bool sack_pads_timestamps = o.sack_permitted && o.timestamps && header.syn;
  if (sack_pads_timestamps) {
    put({kSackPermitted, 2});
  } else if (o.sack_permitted) {
    put({kNop, kNop, kSackPermitted, 2});
  }
  if (o.timestamps) {
    if (!sack_pads_timestamps) put({kNop, kNop});
    put({kTimestamps, 10});
    store_be32(q, o.timestamps->first);
    store_be32(q + 4, o.timestamps->second);
    q += 8;
  }
  if (o.window_scale) put({kNop, kWindowScale, 3, *o.window_scale});
  if (o.sack_count) {
    put({kNop, kNop, kSack, static_cast<uint8_t>(2 + 8 * o.sack_count)});
    for (uint8_t i = 0; i < o.sack_count; ++i) {
      store_be32(q, o.sack[i].left);
      store_be32(q + 4, o.sack[i].right);
      q += 8;
    }
  }
  DP_DCHECK(q == p + header_bytes);
}

}  // namespace culvert::wire
