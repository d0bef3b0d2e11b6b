#include "worker/handover.h"

#include "worker/steering.h"

namespace culvert::worker {

namespace {

// Twice the largest number of packets that one turn of a worker receives from one port.
constexpr uint32_t kRingSlots = 1024;

}  // namespace

class Handover::Of final : public Steering {
 public:
  Of(Handover& handover, uint32_t self, Counters& counters) : handover_(handover), self_(self), counters_(counters) {}

  bool hand_over(ArrivedSegment& segment) override {
    const uint32_t owner = owner_of(segment.tuple, handover_.seed_, handover_.workers_);
    if (owner == self_) return false;
    put(owner, {segment.packet.give(), {}, segment.tuple, segment.interface, 1, segment.ecn_ce});
    return true;
  }

  bool send_elsewhere(InterfaceId interface, const IpAddress& next_hop, Packet& packet) override {
    if (self_ == kPortWorker) return false;
    put(kPortWorker, {packet.give(), next_hop, {}, interface, 0, 0});
    return true;
  }

 private:
  void put(uint32_t to, const Handed& handed) {
    if (!handover_.ring(self_, to).put(handed)) {
      Packet::adopt(handed.chain).reset();
      return counters_.drop(DropReason::kHandoverRingFull);
    }
    counters_.add(Counter::kHandoverPacket);
    const Wake& wake = handover_.wakes_[to];
    if (wake.call) wake.call(wake.context);
  }

  Handover& handover_;
  const uint32_t self_;
  Counters& counters_;
};

Handover::Handover(uint32_t workers, uint64_t seed) : workers_(workers), seed_(seed), wakes_(workers) {
  for (uint32_t i = 0; i < workers * workers; ++i) rings_.push_back(std::make_unique<Ring<Handed>>(kRingSlots));
}

Handover::~Handover() {
  for (const auto& ring : rings_) {
    Handed handed;
    while (ring->take(handed)) Packet::adopt(handed.chain).reset();
  }
}

std::unique_ptr<Steering> Handover::steering_of(uint32_t worker, Counters& counters) {
  return std::make_unique<Of>(*this, worker, counters);
}

size_t Handover::take(uint32_t worker, Pipeline& pipeline, Instant now) {
  size_t taken = 0;
  for (uint32_t from = 0; from < workers_; ++from) {
    Handed handed;
    for (size_t i = 0; i < kBurst && ring(from, worker).take(handed); ++i, ++taken) {
      if (handed.is_segment) {
        pipeline.on_segment({handed.interface, handed.tuple, handed.ecn_ce != 0, Packet::adopt(handed.chain)}, now);
      } else {
        pipeline.send(handed.interface, handed.next_hop, Packet::adopt(handed.chain), now);
      }
    }
  }
  return taken;
}

bool Handover::waiting(uint32_t worker) const {
  for (uint32_t from = 0; from < workers_; ++from) {
    if (!rings_[from * workers_ + worker]->empty()) return true;
  }
  return false;
}

}  // namespace culvert::worker
