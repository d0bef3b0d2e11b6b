#include "xds/back_off.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace culvert::xds {
namespace {

// Words of an UNAVAILABLE that tell of the connection and not of istiod: those that Go's and Rust's gRPC have for it
// (reference 14.5), and those that gRPC 1.51 itself has, which gives no other sign. ztunnel's library says Unknown for
// a connection that broke, which is the same row.
constexpr std::array<std::string_view, 10> kLostConnection = {
    "transport is closing",     "received prior goaway", "Socket closed",
    "Connection reset by peer", "Broken pipe",           "GOAWAY",
    "Endpoint read failed",     "Connection timed out",  "watchdog timeout",
    "Transport closed",
};

bool is_lost_connection(const std::string& message) {
  return std::any_of(kLostConnection.begin(), kLostConnection.end(),
                     [&](std::string_view words) { return message.find(words) != std::string::npos; });
}

}  // namespace

Ending ending_of(const grpc::Status& status, bool connected) {
  if (!connected) return Ending::kConnection;
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      return Ending::kComplete;
    case grpc::StatusCode::UNKNOWN:
    case grpc::StatusCode::CANCELLED:
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return Ending::kReconnect;
    case grpc::StatusCode::UNAVAILABLE:
      return is_lost_connection(status.error_message()) ? Ending::kReconnect : Ending::kError;
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
