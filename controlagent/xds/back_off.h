// When the next stream is tried after one has ended (reference 14.5).
//
// Deviates in one point: the rows that say "at once" or 10 ms hold for kQuickMax ends in a row that brought no
// response. Beyond that the wait grows as for an error, because a server that ends every stream would otherwise be
// called, and the certificates of both sides checked, as fast as the machine can. Where the fault is on this side and
// costs nobody else (an unreadable file), the ceiling is a second.
#pragma once

#include <grpcpp/support/status.h>

#include <string>

#include "base/time.h"

namespace culvert::xds {

enum class Ending : uint8_t {
  kConnection,  // no connection, no TLS, no call
  kLocal,       // root or token could not be used
  kReconnect,   // an end that belongs to istiod's normal life, or a lost connection
  kError,       // any other status
  kComplete,    // istiod ended the stream in order
};

// The row for a stream's status. `connected`: the call got as far as the wire.
Ending ending_of(const grpc::Status& status, bool connected);

class BackOff {
 public:
  static constexpr Duration kFirst = 10ms, kLongest = 15s, kLongestLocal = 1s;
  static constexpr int kQuickMax = 8;

  // The wait after a stream. `fruitful`: it brought at least one response.
  Duration after(Ending ending, bool fruitful);

 private:
  Duration longer(Duration longest);

  Duration span_ = kFirst;
  int quick_ = 0;  // ends in a row on a quick row, without a response
};

}  // namespace culvert::xds
