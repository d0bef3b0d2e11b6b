#include "wire/checksum.h"

#include "base/endian.h"

namespace culvert::wire {

namespace {

// Adds 32-bit words into 64 bits: carries pile up in the upper half and are folded at the end, which is what makes the
// loop free of dependencies on carries. 2^32 words fit.
uint64_t sum_words(const uint8_t* p, size_t bytes) {
  uint64_t a = 0, b = 0;
  while (bytes >= 16) {
    uint32_t w[4];
    std::memcpy(w, p, sizeof w);
    a += static_cast<uint64_t>(w[0]) + w[1];
    b += static_cast<uint64_t>(w[2]) + w[3];
    p += 16;
    bytes -= 16;
  }
  while (bytes >= 2) {
    uint16_t w;
    std::memcpy(&w, p, sizeof w);
    a += w;
    p += 2;
    bytes -= 2;
  }
  if (bytes) {
    // The last odd byte is padded with zero behind it.
    uint16_t w = 0;
    std::memcpy(&w, p, 1);
    a += w;
  }
  return a + b;
}

uint16_t fold(uint64_t sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

}  // namespace

void ChecksumSum::add(ByteView bytes) {
  if (bytes.empty()) return;
  const uint16_t piece = fold(sum_words(bytes.data(), bytes.size()));
  // A piece that begins at an odd offset contributes with its bytes swapped (RFC 1071 2(B)).
  sum_ += odd_ ? endian_detail::swap(piece) : piece;
  if (bytes.size() % 2) odd_ = !odd_;
}

void ChecksumSum::add_be16(uint16_t host) {
  uint8_t wire[2];
  store_be16(wire, host);
  add(ByteView(wire, 2));
}

void ChecksumSum::add_pseudo_header(const IpAddress& source, const IpAddress& destination, uint8_t protocol,
                                    uint32_t bytes) {
  add(source.wire());
  add(destination.wire());
  add_be16(static_cast<uint16_t>(bytes >> 16));
  add_be16(static_cast<uint16_t>(bytes));
  add_be16(protocol);
}

uint16_t ChecksumSum::folded() const {
  const uint16_t memory = fold(sum_);
  uint8_t wire[2];
  std::memcpy(wire, &memory, 2);
  return load_be16(wire);
}

uint16_t internet_checksum(ByteView bytes) {
  ChecksumSum sum;
  sum.add(bytes);
  return sum.checksum();
}

uint16_t updated_checksum(uint16_t checksum, uint16_t before, uint16_t after) {
  uint32_t sum = static_cast<uint16_t>(~checksum) + static_cast<uint32_t>(static_cast<uint16_t>(~before)) + after;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(~sum);
}

}  // namespace culvert::wire
