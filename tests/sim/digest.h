// A running 64-bit digest of what happened, to compare two runs. Not cryptographic.
#pragma once

#include <cstdint>
#include <cstring>

#include "base/bytes.h"

namespace culvert::sim {

class Digest {
 public:
  void add(uint64_t word) {
    state_ ^= word;
    state_ *= 0x9e3779b97f4a7c15ULL;
    state_ ^= state_ >> 32;
  }
  void add(ByteView bytes) {
    while (bytes.size() >= 8) {
      uint64_t word;
      std::memcpy(&word, bytes.data(), 8);
      add(word);
      bytes = bytes.subspan(8);
    }
    uint64_t rest = bytes.size() + 1;
    for (const uint8_t byte : bytes) rest = rest << 8 | byte;
    add(rest);
  }
  uint64_t value() const { return state_; }

 private:
  uint64_t state_ = 0xcbf29ce484222325ULL;
};

}  // namespace culvert::sim
