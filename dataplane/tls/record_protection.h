// Record protection (RFC 8446 5.2 to 5.5): one direction's secret, key and sequence number, sealing and opening whole
// records in packet buffers. Plaintext and ciphertext are touched once, by the AEAD.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>

#include "packet/packet.h"
#include "tls/aead.h"
#include "tls/key_schedule.h"
#include "tls/record.h"

namespace culvert::tls {

// What both directions share: the key in force and how often it was used.
class RecordKey {
 public:
  RecordKey(AeadBackend& backend, CipherSuite suite, TrafficSecret secret);
  // To the next generation (RFC 8446 7.2); the sequence number starts over.
  void update();
  // Records under this key.
  uint64_t sequence() const { return sequence_; }

 protected:
  ~RecordKey() = default;
  // RFC 8446 5.3, and one step further.
  std::array<uint8_t, kAeadNonceBytes> next_nonce();

  AeadBackend& backend_;
  CipherSuite suite_;
  TrafficSecret secret_;
  std::unique_ptr<AeadKey> key_;
  std::array<uint8_t, kAeadNonceBytes> iv_;
  uint64_t sequence_ = 0;
};

// Pieces of one record that go to the AEAD as they lie. A record in more pieces than this (a peer that sends a byte per
// segment) is gathered by a copy first.
inline constexpr size_t kPiecesMax = 64;

class RecordSealer : public RecordKey {
 public:
  using RecordKey::RecordKey;
  // One record holding the pieces, `bytes` in sum and at most kPlaintextBytesMax, in one fresh buffer. Empty when the
  // pool is: then nothing has changed.
  Packet seal(ContentType type, std::span<const ByteView> pieces, size_t bytes, BufferPool& pool);
};

class RecordOpener : public RecordKey {
 public:
  using RecordKey::RecordKey;

  enum class Outcome : uint8_t {
    kOpened,
    kNoBuffer,       // nothing has changed: try again
    kBadMac,         // RFC 8446 5.2: bad_record_mac
    kOverflow,       // more than 2^14 bytes of content: record_overflow
    kNoContentType,  // nothing but zeros inside (RFC 8446 5.4): unexpected_message
  };
  struct Opened {
    Outcome outcome;
    ContentType type = ContentType::kInvalid;
    Packet content;
  };
  // Opens the record whose header and `length` bytes stand at the front of `in` (they are there; length is at most
  // kCiphertextBytesMax). It stays in `in`.
  Opened open(const ByteQueue& in, uint16_t length, BufferPool& pool);
};

}  // namespace culvert::tls
