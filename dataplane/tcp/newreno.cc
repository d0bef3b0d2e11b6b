// NewReno's congestion avoidance (RFC 5681 3.1): one segment per window acknowledged, counted in bytes (RFC 3465).
#include "tcp/congestion.h"

namespace culvert::tcp {

void Congestion::newreno_on_ack(uint32_t acked) {
  acked_in_window_ += acked;
  while (acked_in_window_ >= cwnd_) {
    acked_in_window_ -= cwnd_;
    grow(mss_);
  }
}

}  // namespace culvert::tcp
