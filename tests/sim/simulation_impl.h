// The parts of one run: the seed's decisions and the assembly of nodes and pods (assembly.cc), the loop
// (simulation.cc), faults while it runs (faults.cc), and what is wrong with how it went (judgement.cc).
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "drivers/crypto/openssl/aead.h"
#include "snapshot/mesh_builder.h"
#include "tests/sim/clock.h"
#include "tests/sim/digest.h"
#include "tests/sim/network.h"
#include "tests/sim/pcap.h"
#include "tests/sim/simulation.h"
#include "tests/sim/traffic.h"
#include "tests/testkit/host.h"
#include "tests/testkit/test_ca.h"
#include "tls/deterministic_random.h"
#include "worker/worker.h"

namespace culvert::sim {

// From the deadline of a node that drains to its end.
inline constexpr Duration kDrainEnd = 1s;

class Simulation {
 public:
  Simulation(const Scenario& scenario, uint64_t seed, const RunOptions& options)
      : scenario_(scenario),
        random_(seed),
        openssl_(seed),
        network_(seed ^ 0x6e6574),
        traffic_(&Simulation::on_violation, this) {
    result_.seed = seed;
    if (!options.pcap.empty()) pcap_ = std::make_unique<PcapWriter>(options.pcap);
    draw();
    build();
  }

  ~Simulation() {
    hosts_.clear();
    nodes_.clear();
  }

  RunResult run();

 private:
  struct NodeState {
    NodeSpec spec;
    std::unique_ptr<worker::Node> node;
    Station* uplink = nullptr;
    std::vector<Station*> pods;
    std::vector<bool> more;  // per worker: the last turn wants another
    Instant drain_due = kNever;
    bool drained = false;
  };
  struct PodState {
    PodSpec spec;
    size_t node;
    std::unique_ptr<BufferPool> pool;
    Station* station = nullptr;  // the pod's end of its link
    Station* node_end = nullptr;
    bool attached = true;
  };
  struct FaultState {
    FaultSpec spec;
    Instant at;
    bool done = false;
  };

  static void on_violation(void* self, const std::string& what) { static_cast<Simulation*>(self)->violation(what); }
  static void on_frame(void* self, uint32_t link, Instant at, ByteView frame) {
    auto& sim = *static_cast<Simulation*>(self);
    sim.digest_.add(link);
    sim.digest_.add(static_cast<uint64_t>(at.time_since_epoch().count()));
    sim.digest_.add(frame);
    if (sim.pcap_ && link == sim.wire_) sim.pcap_->write(at, frame);
  }

  void violation(const std::string& what) {
    if (result_.violations.size() < 20) result_.violations.push_back(what);
  }

  void draw();
  void build();
  void build_mesh();
  void publish_credentials();
  bool turn_everything(Instant now);
  Instant next_event() const;
  std::string busy_text(Instant now);  // who would not rest, for a violation
  void apply_faults(Instant now);
  void apply(const FaultSpec& fault, Instant now);
  void rotate(Instant now);
  void watch_drains(Instant now);
  void judge();
  void check_ownership();
  void check_traffic_series();
  size_t pod_index(const std::string& name) const;
  bool pools_empty() const;
  std::string pools_text() const;

  Scenario scenario_;
  Random random_;
  tls::DeterministicRandom openssl_;
  VirtualClock clock_;
  Digest digest_;
  std::unique_ptr<PcapWriter> pcap_;
  Network network_;
  uint32_t wire_ = 0;
  crypto::OpensslAead aead_;
  std::unique_ptr<testkit::TestCa> ca_;
  snapshot::MeshBuilder mesh_;
  std::vector<PodState> pods_;
  std::vector<NodeState> nodes_;
  std::vector<std::unique_ptr<testkit::Host>> hosts_;  // by pod; null: gone
  std::vector<FaultState> faults_;
  Instant rotate_due_ = kNever;
  std::map<std::string, std::string> serials_;  // of the pods' certificates, by pod
  Traffic traffic_;
  RunResult result_;
  std::map<size_t, std::pair<Instant, Instant>> endings_;  // flow → when client and server ended
};

}  // namespace culvert::sim
