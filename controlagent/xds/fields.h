// The common part of converting one record: the first field that cannot be taken is kept with its reason, entries that
// are left out on the way are noted, and the path to a field is written only then.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ip_address.h"

namespace culvert::xds {

// Where in the record a value stands: "workload.addresses[1]". Views; made on the stack of the conversion.
struct FieldPath {
  const FieldPath* parent = nullptr;
  std::string_view name = {};
  int index = -1;
  std::string text() const;
};

// Bytes of a peer as something a log line or a NACK may hold: printable ASCII, at most `bytes_max`.
std::string shown(std::string_view text, size_t bytes_max = 200);

class Fields {
 public:
  // Longer than any name of Kubernetes or DNS; the data plane takes no longer text either.
  static constexpr size_t kTextMax = 4096;
  static constexpr size_t kNotesMax = 20;

  bool refused() const { return !problem_.empty(); }
  // "field: reason" of the first refusal.
  std::string take_problem() { return std::move(problem_); }
  // Sentences about entries that were left out; at most kNotesMax.
  std::vector<std::string> take_notes() { return std::move(notes_); }

  void refuse(const FieldPath& path, std::string_view reason);
  void note(const FieldPath& path, std::string_view what);

  // At most kTextMax bytes without control characters.
  std::string text(const FieldPath& path, const std::string& value);
  std::string required(const FieldPath& path, const std::string& value);
  IpAddress address(const FieldPath& path, const std::string& bytes);
  // Of the address's own family; bits behind the length are cleared. None when the length does not fit.
  static std::optional<Prefix> prefix(const std::string& bytes, uint32_t length);

 private:
  std::string problem_;
  std::vector<std::string> notes_;
};

}  // namespace culvert::xds
