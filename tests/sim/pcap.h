// A capture file of Ethernet frames (the classic pcap format with nanoseconds, link type 1).
#pragma once

#include <cstdio>
#include <string>

#include "base/bytes.h"
#include "base/time.h"

namespace culvert::sim {

class PcapWriter {
 public:
  // ok() is false when the file cannot be written.
  explicit PcapWriter(const std::string& path);
  ~PcapWriter();
  PcapWriter(const PcapWriter&) = delete;
  PcapWriter& operator=(const PcapWriter&) = delete;

  bool ok() const { return file_ != nullptr; }
  void write(Instant at, ByteView frame);

 private:
  std::FILE* file_;
};

}  // namespace culvert::sim
