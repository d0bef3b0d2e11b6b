// Each block carries its size in front, in a header as wide as the heap's alignment.
#include "http2/memory.h"

#include <cstdlib>
#include <cstring>

#include "base/check.h"

namespace culvert::http2 {

namespace {

constexpr size_t kHeaderBytes = alignof(std::max_align_t);
static_assert(kHeaderBytes >= sizeof(size_t));

void* raw_of(void* block) { return static_cast<uint8_t*>(block) - kHeaderBytes; }

size_t size_of(void* block) {
  size_t bytes;
  std::memcpy(&bytes, raw_of(block), sizeof bytes);
  return bytes;
}

}  // namespace

void* SessionMemory::allocate(size_t bytes) {
  if (bytes > bytes_max_ || bytes_ > bytes_max_ - bytes || core_.bytes > core_.bytes_max ||
      bytes > core_.bytes_max - core_.bytes) {
    ++core_.refused;
    return nullptr;
  }
  void* raw = std::malloc(kHeaderBytes + bytes);
  if (!raw) {
    ++core_.refused;
    return nullptr;
  }
  std::memcpy(raw, &bytes, sizeof bytes);
  bytes_ += bytes;
  core_.bytes += bytes;
  return static_cast<uint8_t*>(raw) + kHeaderBytes;
}

void* SessionMemory::reallocate(void* old, size_t bytes) {
  if (!old) return allocate(bytes);
  void* block = allocate(bytes);
  if (!block) return nullptr;
  const size_t before = size_of(old);
  std::memcpy(block, old, before < bytes ? before : bytes);
  release(old);
  return block;
}

void SessionMemory::release(void* block) {
  if (!block) return;
  const size_t bytes = size_of(block);
  DP_DCHECK(bytes_ >= bytes && core_.bytes >= bytes);
  bytes_ -= bytes;
  core_.bytes -= bytes;
  std::free(raw_of(block));
}

}  // namespace culvert::http2
