// Names and texts of drop reasons and counters. The snake-case names are derived from the symbols once, at start.
#include <string>
#include <vector>

#include "telemetry/counters.h"
#include "telemetry/drop_reasons.h"

namespace culvert {

namespace {

struct Row {
  std::string_view symbol;
  std::string_view second;  // room or unit
  std::string_view sentence;
};

constexpr Row kDropRows[] = {
#define DROP_REASON(symbol, room, sentence) {#symbol, #room, sentence},
#include "telemetry/drop_reasons.def"
#undef DROP_REASON
};

constexpr Row kCounterRows[] = {
#define COUNTER(symbol, unit, sentence) {#symbol, #unit, sentence},
#include "telemetry/counters.def"
#undef COUNTER
};

std::string snake_case(std::string_view symbol) {
  std::string out;
  for (const char c : symbol) {
    const bool upper = c >= 'A' && c <= 'Z';
    if (upper && !out.empty()) out += '_';
    out += upper ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

template <size_t N>
std::vector<std::string> names_of(const Row (&rows)[N]) {
  std::vector<std::string> names;
  names.reserve(N);
  for (const Row& row : rows) names.push_back(snake_case(row.symbol));
  return names;
}

}  // namespace

std::string_view name_of(DropReason reason) {
  static const std::vector<std::string> names = names_of(kDropRows);
  return names[static_cast<size_t>(reason)];
}
std::string_view room_of(DropReason reason) { return kDropRows[static_cast<size_t>(reason)].second; }
std::string_view text_of(DropReason reason) { return kDropRows[static_cast<size_t>(reason)].sentence; }

std::string_view name_of(Counter counter) {
  static const std::vector<std::string> names = names_of(kCounterRows);
  return names[static_cast<size_t>(counter)];
}
std::string_view unit_of(Counter counter) { return kCounterRows[static_cast<size_t>(counter)].second; }
std::string_view text_of(Counter counter) { return kCounterRows[static_cast<size_t>(counter)].sentence; }

}  // namespace culvert
