#include "tests/tools/packetdrill/flags.h"

#include <charconv>
#include <cstdio>
#include <string_view>

namespace culvert::packetdrill {

namespace {

bool number(std::string_view text, uint64_t& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size();
}

bool take(std::string_view word, Flags& flags) {
  // Both families are always spoken; the words say which one a script means.
  if (word.empty() || word == "ipv4" || word == "ipv6") return true;
  const size_t equals = word.find('=');
  if (equals == std::string_view::npos) return false;
  const std::string_view name = word.substr(0, equals), text = word.substr(equals + 1);
  uint64_t value = 0;
  if (name == "cc" && (text == "cubic" || text == "reno")) {
    flags.cubic = text == "cubic";
  } else if (name == "mtu" && number(text, value) && value >= 576 && value <= 65'535) {
    flags.mtu = static_cast<uint16_t>(value);
  } else if (name == "delack" && number(text, value) && value <= 500) {
    flags.delayed_ack = std::chrono::milliseconds{value};
  } else if (name == "seed" && number(text, value)) {
    flags.seed = value;
  } else if ((name == "rmem" || name == "wmem") && number(text, value) && value >= 4096 && value <= 1u << 30) {
    (name == "rmem" ? flags.rmem : flags.wmem) = static_cast<uint32_t>(value);
  } else if (name == "local" && IpAddress::parse(text)) {
    const IpAddress address = *IpAddress::parse(text);
    (address.is_v4() ? flags.local_v4 : flags.local_v6) = address;
  } else {
    return false;
  }
  return true;
}

}  // namespace

Flags parse_flags(const char* text) {
  Flags flags;
  std::string_view rest = text ? text : "";
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    const std::string_view word = rest.substr(0, comma);
    if (!take(word, flags)) {
      std::fprintf(stderr,
                   "libculvert_packetdrill: flag '%.*s' is not known; known are ipv4, ipv6, mtu=576..65535, "
                   "cc=cubic|reno, delack=0..500 (ms), seed=N, rmem=BYTES, wmem=BYTES, local=ADDRESS\n",
                   static_cast<int>(word.size()), word.data());
    }
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
  }
  return flags;
}

}  // namespace culvert::packetdrill
