#include "xds/back_off.h"

#include <algorithm>

namespace culvert::xds {

Ending ending_of(const grpc::Status& status, bool connected, bool from_peer) {
  if (!connected) return Ending::kConnection;
  const auto says = [&status](std::string_view words) {
    return status.error_message().find(words) != std::string::npos;
  };
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return Ending::kComplete;
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return Ending::kReconnect;
    case grpc::StatusCode::UNAVAILABLE:
      // A connection that broke is UNAVAILABLE in this gRPC, where ztunnel's has Unknown for it.
      if (!from_peer || says("transport is closing") || says("received prior goaway")) return Ending::kReconnect;
      return Ending::kError;
    default:
      return Ending::kError;
  }
}

Duration BackOff::longer(Duration longest) {
  span_ = std::min(longest, span_ * 2);
  return span_;
}

Duration BackOff::after(Ending ending, bool fruitful) {
  if (ending == Ending::kConnection || ending == Ending::kError) {
    quick_ = 0;
    return longer(kLongest);
  }
  quick_ = fruitful ? 0 : quick_ + 1;
  if (quick_ > kQuickMax) return longer(ending == Ending::kLocal ? kLongestLocal : kLongest);
  span_ = kFirst;
  return ending == Ending::kReconnect ? kFirst : Duration{};
}

}  // namespace culvert::xds
