#include "xds/fields.h"

#include <array>

namespace culvert::xds {

std::string FieldPath::text() const {
  std::string out = parent ? parent->text() : "";
  if (!out.empty() && !name.empty()) out += '.';
  out += name;
  if (index >= 0) out += "[" + std::to_string(index) + "]";
  return out;
}

std::string shown(std::string_view text, size_t bytes_max) {
  std::string out(text.substr(0, bytes_max));
  for (char& c : out) {
    if (c < 0x20 || c >= 0x7f) c = '?';
  }
  if (text.size() > bytes_max) out += "...";
  return out;
}

void Fields::refuse(const FieldPath& path, std::string_view reason) {
  if (problem_.empty()) problem_ = path.text() + ": " + std::string(reason);
}

void Fields::note(const FieldPath& path, std::string_view what) {
  if (notes_.size() < kNotesMax) notes_.push_back(path.text() + ": " + std::string(what));
}

std::string Fields::text(const FieldPath& path, const std::string& value) {
  if (value.size() > kTextMax) {
    refuse(path, std::to_string(value.size()) + " bytes, at most " + std::to_string(kTextMax) + " are taken");
    return {};
  }
  for (const char c : value) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      refuse(path, "holds a control character");
      return {};
    }
  }
  return value;
}

std::string Fields::required(const FieldPath& path, const std::string& value) {
  if (value.empty()) refuse(path, "is missing");
  return text(path, value);
}

IpAddress Fields::address(const FieldPath& path, const std::string& bytes) {
  const auto address = IpAddress::from_bytes(bytes_of(bytes));
  if (!address) refuse(path, std::to_string(bytes.size()) + " bytes, an address has 4 or 16");
  return address.value_or(IpAddress{});
}

std::optional<Prefix> Fields::prefix(const std::string& bytes, uint32_t length) {
  const auto base = IpAddress::from_bytes(bytes_of(bytes));
  if (!base || length > bytes.size() * 8) return std::nullopt;
  // An IPv4-mapped address of 16 bytes is IPv4 to us (D18): its length has to lie within the last 32 bits.
  const bool mapped = base->is_v4() && bytes.size() == 16;
  if (mapped && length < 96) return std::nullopt;
  return Prefix{*base, static_cast<uint8_t>(mapped ? length - 96 : length)}.masked();
}

}  // namespace culvert::xds
