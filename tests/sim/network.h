// Virtual links: frames leave a port, meet what the link does to them (rate, delay, queue, loss, bursts, duplication,
// reordering, corruption, blackouts), and arrive at the other ports of the link at a later virtual instant.
//
// A link joins two ports or more; with more than two it is a switch that floods what it has not learned. Everything is
// drawn from one generator in the order of events, so a seed says all.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "base/random.h"
#include "base/time.h"
#include "drivers/link/link_port.h"
#include "port/port.h"

namespace culvert::sim {

struct Blackout {
  Instant from, until;
};

struct LinkTraits {
  uint64_t rate_mbit = 0;         // 0: no limit
  Duration delay = 50us;          // one way
  uint32_t queue_packets = 1000;  // per sender, while the rate holds frames back
  uint32_t loss_ppm = 0;
  uint32_t burst_ppm = 0;      // a burst begins with this probability per frame …
  uint32_t burst_packets = 0;  // … and takes this many
  uint32_t duplicate_ppm = 0;
  uint32_t reorder_ppm = 0;  // a frame is held back by reorder_delay
  Duration reorder_delay = 2ms;
  uint32_t corrupt_ppm = 0;  // one bit of the frame flips; only on links without offloads, whose checksums see it
  uint16_t mtu = 1500;
  bool offloads = true;  // ports take 64 KB segments and partial checksums, as TAPs do
  std::vector<Blackout> blackouts = {};
};

struct LinkCounts {
  uint64_t frames = 0, lost = 0, duplicated = 0, reordered = 0, corrupted = 0, blacked_out = 0, queue_dropped = 0;
  // Of TCP segments with payload: bytes of frames that were lost, for loss figures.
  uint64_t payload_bytes_lost = 0;
};

class Network;

// One end of a link: what a LinkPort gives its frames to and takes them from.
class Station final : public link::Wire {
 public:
  Station(Network& network, uint32_t link, uint32_t number) : network_(network), link_(link), number_(number) {}
  size_t send(std::span<Packet> frames) override;
  size_t receive(std::span<Packet> out) override;
  bool readable() const { return !received_.empty(); }

 private:
  friend class Network;
  Network& network_;
  const uint32_t link_;
  const uint32_t number_;
  std::deque<Packet> received_;
};

struct Plug {
  Station* station;  // the network's
  std::unique_ptr<port::Port> port;
};

// A frame in flight, or one that arrived: for pcap and digest.
using FrameTap = void (*)(void* context, uint32_t link, Instant at, ByteView frame);

class Network {
 public:
  explicit Network(uint64_t seed);

  uint32_t add_link(const std::string& name, const LinkTraits& traits);
  LinkTraits& traits(uint32_t link) { return links_[link].traits; }
  const LinkCounts& counts(uint32_t link) const { return links_[link].counts; }
  // A port on the link; frames that it receives are copied into `pool`.
  Plug add_port(uint32_t link, BufferPool& pool);

  // Arrivals up to and including `now` go to their ports' queues.
  void deliver(Instant now);
  Instant next_arrival() const { return flights_.empty() ? kNever : flights_.top().at; }
  void set_now(Instant now) { now_ = now; }
  // Sees each frame as it is put on a link (before any impairment).
  void set_tap(FrameTap tap, void* context) {
    tap_ = tap;
    tap_context_ = context;
  }
  uint64_t frames_in_flight() const { return flights_.size(); }

 private:
  friend class Station;

  struct Flight {
    Instant at;
    uint64_t order;  // ties arrive in the order they left
    uint32_t station;
    std::shared_ptr<Packet> frame;
    friend bool operator>(const Flight& a, const Flight& b) { return a.at != b.at ? a.at > b.at : a.order > b.order; }
  };
  struct Link {
    std::string name;
    LinkTraits traits;
    LinkCounts counts;
    std::vector<uint32_t> stations;
    std::map<std::array<uint8_t, 6>, uint32_t> learned;
    std::map<uint32_t, Instant> busy_until;  // by sender
    uint32_t burst_left = 0;
  };

  void send(const Station& from, const Packet& packet);
  Packet copy_of(const Packet& packet);

  std::unique_ptr<BufferPool> pool_;  // frames in flight
  Random random_;
  Instant now_{};
  uint64_t order_ = 0;
  std::vector<Link> links_;
  std::vector<std::unique_ptr<Station>> stations_;
  std::priority_queue<Flight, std::vector<Flight>, std::greater<>> flights_;
  FrameTap tap_ = nullptr;
  void* tap_context_ = nullptr;
};

}  // namespace culvert::sim
