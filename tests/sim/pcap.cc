#include "tests/sim/pcap.h"

namespace culvert::sim {

namespace {

constexpr uint32_t kMagicNanoseconds = 0xa1b23c4d;
constexpr uint32_t kSnapBytes = 262'144;
constexpr uint32_t kEthernet = 1;

}  // namespace

PcapWriter::PcapWriter(const std::string& path) : file_(std::fopen(path.c_str(), "wb")) {
  if (!file_) return;
  const uint16_t version[2] = {2, 4};
  const uint32_t rest[4] = {0, 0, kSnapBytes, kEthernet};
  std::fwrite(&kMagicNanoseconds, 4, 1, file_);
  std::fwrite(version, sizeof version, 1, file_);
  std::fwrite(rest, sizeof rest, 1, file_);
}

PcapWriter::~PcapWriter() {
  if (file_) std::fclose(file_);
}

void PcapWriter::write(Instant at, ByteView frame) {
  if (!file_) return;
  const int64_t ns = at.time_since_epoch().count();
  const uint32_t header[4] = {static_cast<uint32_t>(ns / 1'000'000'000), static_cast<uint32_t>(ns % 1'000'000'000),
                              static_cast<uint32_t>(frame.size()), static_cast<uint32_t>(frame.size())};
  std::fwrite(header, sizeof header, 1, file_);
  std::fwrite(frame.data(), 1, frame.size(), file_);
}

}  // namespace culvert::sim
