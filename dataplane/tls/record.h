// The record header, and the sizes of RFC 8446 5.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/endian.h"
#include "tls/aead.h"

namespace culvert::tls {

enum class ContentType : uint8_t {
  kInvalid = 0,
  kChangeCipherSpec = 20,
  kAlert = 21,
  kHandshake = 22,
  kApplicationData = 23,
};

inline constexpr size_t kRecordHeaderBytes = 5;
// RFC 8446 5.1: "The length MUST NOT exceed 2^14 bytes."
inline constexpr size_t kPlaintextBytesMax = 1 << 14;
// RFC 8446 5.2: content, one byte of type, padding; "The length MUST NOT exceed 2^14 + 256 bytes."
inline constexpr size_t kCiphertextBytesMax = kPlaintextBytesMax + 256;
// What a record adds to its content: header, inner content type, tag.
inline constexpr size_t kRecordOverhead = kRecordHeaderBytes + 1 + kAeadTagBytes;

struct RecordHeader {
  ContentType type;
  uint16_t length;  // of what follows the header

  // The version field is not read: RFC 8446 5.1, "MUST be ignored for all purposes".
  static RecordHeader parse(const uint8_t bytes[kRecordHeaderBytes]) {
    return {static_cast<ContentType>(bytes[0]), load_be16(bytes + 3)};
  }
  void emit(uint8_t bytes[kRecordHeaderBytes]) const {
    bytes[0] = static_cast<uint8_t>(type);
    store_be16(bytes + 1, 0x0303);
    store_be16(bytes + 3, length);
  }
};

}  // namespace culvert::tls
