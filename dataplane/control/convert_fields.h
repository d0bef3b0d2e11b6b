// The common part of converting one record: the first thing that is not accepted is kept as its rejection, and the path
// to the field is built only then.
#pragma once

#include <google/protobuf/repeated_ptr_field.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/ip_address.h"
#include "control/mesh_feed.h"

namespace culvert::control {

// Where in the record a value stands: "rules[0].clauses[1]". Views; made on the stack of the conversion.
struct FieldPath {
  const FieldPath* parent = nullptr;
  std::string_view name;
  int index = -1;
  std::string text() const {
    std::string out = parent ? parent->text() : "";
    if (!out.empty()) out += '.';
    out += name;
    if (index >= 0) out += "[" + std::to_string(index) + "]";
    return out;
  }
};

class Fields {
 public:
  // Longer than any name of Kubernetes or DNS.
  static constexpr size_t kTextMax = 4096;

  bool refused() const { return rejection_.has_value(); }
  std::optional<Rejection> take_rejection(std::string_view kind, std::string_view name) {
    if (!rejection_) return std::nullopt;
    rejection_->kind = kind;
    rejection_->name = name;
    return std::move(rejection_);
  }

  void refuse(const FieldPath& path, std::string reason) {
    if (!rejection_) rejection_ = Rejection{{}, {}, path.text(), std::move(reason)};
  }

  std::string text(const FieldPath& path, const std::string& value) {
    if (value.size() > kTextMax) {
      refuse(path, "at most " + std::to_string(kTextMax) + " bytes are accepted, not " + std::to_string(value.size()));
      return {};
    }
    for (const char c : value) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
        refuse(path, "control characters are not accepted");
        return {};
      }
    }
    return value;
  }
  std::string required(const FieldPath& path, const std::string& value) {
    if (value.empty()) refuse(path, "a text that is not empty is accepted");
    return text(path, value);
  }
  // "namespace/name"
  std::string key(const FieldPath& path, const std::string& value) {
    const size_t slash = value.find('/');
    if (slash == std::string::npos || slash == 0 || slash + 1 == value.size()) {
      refuse(path, "namespace/name is accepted");
      return {};
    }
    return text(path, value);
  }
  IpAddress address(const FieldPath& path, const std::string& bytes) {
    const std::optional<IpAddress> address = IpAddress::from_bytes(bytes_of(bytes));
    if (!address) refuse(path, "4 or 16 bytes are accepted, not " + std::to_string(bytes.size()));
    return address.value_or(IpAddress{});
  }
  uint16_t port(const FieldPath& path, uint32_t value, bool zero_too) {
    if (value > 65'535 || (value == 0 && !zero_too)) {
      refuse(path, std::string(zero_too ? "0" : "1") + " to 65535 is accepted, not " + std::to_string(value));
      return 0;
    }
    return static_cast<uint16_t>(value);
  }
  // Bits behind the length are cleared.
  template <class ProtoPrefix>
  Prefix prefix(const FieldPath& path, const ProtoPrefix& value) {
    const IpAddress base = address({&path, "address"}, value.address());
    const uint32_t longest = base.is_v4() && value.address().size() == 4 ? 32 : 128;
    if (value.bits() > longest) {
      refuse({&path, "bits"}, "0 to " + std::to_string(longest) + " is accepted, not " + std::to_string(value.bits()));
      return {};
    }
    return masked(path, base, value.bits(), longest);
  }
  // An enumerator by table: protobuf hands on values that this build does not know.
  template <class Enum, size_t N>
  Enum choice(const FieldPath& path, int value, const Enum (&known)[N]) {
    if (value >= 0 && static_cast<size_t>(value) < N) return known[value];
    refuse(path, "a value from 0 to " + std::to_string(N - 1) + " is accepted, not " + std::to_string(value));
    return known[0];
  }

 private:
  Prefix masked(const FieldPath& path, const IpAddress& base, uint32_t bits, uint32_t longest) {
    // A v4-mapped address of 16 bytes is IPv4 to us: its length has to count within the last 32 bits.
    if (base.is_v4() && longest == 128) {
      if (bits < 96) {
        refuse({&path, "bits"}, "96 to 128 is accepted for an IPv4-mapped address, not " + std::to_string(bits));
        return {};
      }
      bits -= 96;
    }
    return Prefix{base, static_cast<uint8_t>(bits)}.masked();
  }

  std::optional<Rejection> rejection_;
};

}  // namespace culvert::control
