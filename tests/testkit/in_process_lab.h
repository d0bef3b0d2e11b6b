// Two nodes, a client and a server host in one thread, joined by in-process links, on the real clock: what the data
// plane itself costs, without a kernel. CPU of each party is the time-stamp counter around its turns, since nothing
// else runs in the thread; the hosts are the load generator and are charged apart.
#pragma once

#include <x86intrin.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "tests/testkit/host.h"
#include "worker/worker.h"

namespace culvert::testkit {

class Tsc {
 public:
  static uint64_t now() { return __rdtsc(); }
  static double per_second();  // measured once
};

// Of each of the four pools.
inline constexpr PoolLimits kInProcessBuffers{.small = 16'384, .large = 8'192, .view = 65'536};

struct LabOptions {
  bool large_segments = true;  // links take 64 KB segments; otherwise MTU 1500 without any offload
  bool same_node = false;
  bool mempools = false;  // buffers from DPDK's mempools, as in a real node (EAL is up); otherwise from the heap
  uint32_t policies = 0;  // loaded on both nodes, none of them matches
};

// Client pod on node 0, server pod on node 1.
class InProcessLab {
 public:
  explicit InProcessLab(const LabOptions& options);
  ~InProcessLab();

  // One turn of everybody. Application work between turns is the caller's.
  void turn();
  Host& client() { return *client_; }
  Host& server() { return *server_; }
  worker::Node& node(size_t n) { return *nodes_[n]; }
  Endpoint server_endpoint() const { return {*IpAddress::parse("10.2.0.11"), 8080}; }
  Instant now() const { return now_; }

  // CPU seconds spent in node n's turns, and in the hosts', since the last reset.
  double node_seconds(size_t n) const { return static_cast<double>(node_ticks_[n]) / Tsc::per_second(); }
  double host_seconds() const { return static_cast<double>(host_ticks_) / Tsc::per_second(); }
  void reset_clocks();
  const std::string& aead_name() const { return aead_name_; }
  tls::AeadBackend& aead() { return *aead_; }

 private:
  class Clock;
  std::unique_ptr<Clock> clock_;
  std::unique_ptr<tls::AeadBackend> aead_;
  std::string aead_name_;
  std::array<std::unique_ptr<BufferPool>, 2> host_pools_;
  std::array<std::unique_ptr<worker::Node>, 2> nodes_;
  std::unique_ptr<Host> client_, server_;
  std::array<uint64_t, 2> node_ticks_{};
  uint64_t host_ticks_ = 0;
  Instant now_{};
};

}  // namespace culvert::testkit
