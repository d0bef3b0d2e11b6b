// Drop reasons as an enum, with their counter names and texts (drop_reasons.def).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace culvert {

enum class DropReason : uint16_t {
#define DROP_REASON(symbol, room, sentence) k##symbol,
#include "telemetry/drop_reasons.def"
#undef DROP_REASON
  kCount,
};
inline constexpr size_t kDropReasons = static_cast<size_t>(DropReason::kCount);

// "eth_too_short": stable, used in metrics and by `culvertctl drops`.
std::string_view name_of(DropReason reason);
// The sentence for people.
std::string_view text_of(DropReason reason);
std::string_view room_of(DropReason reason);

}  // namespace culvert
