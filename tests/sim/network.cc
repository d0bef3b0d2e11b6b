#include "tests/sim/network.h"

#include <algorithm>

#include "base/endian.h"

namespace culvert::sim {

namespace {

constexpr uint32_t kOffloadBytes = 65'535;

std::array<uint8_t, 6> mac_of(uint32_t number) {
  // Locally administered, unicast.
  return {0x02,
          0x51,
          static_cast<uint8_t>(number >> 24),
          static_cast<uint8_t>(number >> 16),
          static_cast<uint8_t>(number >> 8),
          static_cast<uint8_t>(number)};
}

// TCP payload in an Ethernet frame without VLAN tag, options or extension headers: what Culvert sends.
uint64_t tcp_payload_bytes(ByteView frame) {
  if (frame.size() < 54) return 0;
  const uint16_t type = load_be16(&frame[12]);
  const size_t ip = 14;
  size_t tcp = 0;
  size_t end = 0;
  if (type == 0x0800 && frame[ip + 9] == 6) {
    tcp = ip + (frame[ip] & 15u) * 4u;
    end = ip + load_be16(&frame[ip + 2]);
  } else if (type == 0x86dd && frame[ip + 6] == 6) {
    tcp = ip + 40;
    end = tcp + load_be16(&frame[ip + 4]);
  }
  if (tcp == 0 || tcp + 20 > frame.size() || end > frame.size()) return 0;
  const size_t payload = tcp + (frame[tcp + 12] >> 4) * 4u;
  return payload < end ? end - payload : 0;
}

}  // namespace

Network::Network(uint64_t seed)
    : pool_(BufferPool::on_heap({.small = 1'000'000, .large = 1'000'000, .view = 0})), random_(seed) {}

size_t Station::send(std::span<Packet> frames) {
  for (Packet& frame : frames) {
    network_.send(*this, frame);
    frame.reset();
  }
  return frames.size();
}

size_t Station::receive(std::span<Packet> out) {
  const size_t n = std::min(out.size(), received_.size());
  for (size_t i = 0; i < n; ++i) {
    out[i] = std::move(received_.front());
    received_.pop_front();
  }
  return n;
}

uint32_t Network::add_link(const std::string& name, const LinkTraits& traits) {
  links_.push_back({name, traits, {}, {}, {}, {}, 0});
  return static_cast<uint32_t>(links_.size() - 1);
}

Plug Network::add_port(uint32_t link, BufferPool& pool) {
  const auto number = static_cast<uint32_t>(stations_.size());
  stations_.push_back(std::make_unique<Station>(*this, link, number));
  links_[link].stations.push_back(number);
  const LinkTraits& traits = links_[link].traits;
  link::LinkConfig config;
  config.mac = mac_of(number);
  config.mtu = traits.mtu;
  config.sleeps = false;
  config.offloads.scatter = true;
  config.offloads.tx_segments_max = 64;
  if (traits.offloads) {
    config.offloads.rx_checksum = config.offloads.tx_checksum = config.offloads.tso = config.offloads.lro = true;
    config.offloads.tso_bytes_max = kOffloadBytes;
  }
  Station& station = *stations_.back();
  return {&station, std::make_unique<link::LinkPort>(config, station, station, pool, false)};
}

Packet Network::copy_of(const Packet& packet) {
  std::vector<uint8_t> bytes(packet.bytes());
  packet.copy_out(0, bytes);
  Packet copy = pool_->take_copy(bytes);
  DP_CHECK(copy);
  // What the sender asked of the device travels with the frame, as on a TAP.
  copy.mbuf()->ol_flags = packet.mbuf()->ol_flags & ~(RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL);
  copy.mbuf()->tx_offload = packet.mbuf()->tx_offload;
  return copy;
}

void Network::send(const Station& from, const Packet& packet) {
  Link& link = links_[from.link_];
  std::vector<uint8_t> frame(packet.bytes());
  packet.copy_out(0, frame);
  const ByteView bytes = frame;
  ++link.counts.frames;
  if (tap_) tap_(tap_context_, from.link_, now_, bytes);

  const LinkTraits& traits = link.traits;
  Instant leaves = now_;
  if (traits.rate_mbit > 0) {
    Instant& busy = link.busy_until[from.number_];
    const Duration per_frame{static_cast<int64_t>(bytes.size() * 8000 / traits.rate_mbit)};
    const Instant start = std::max(busy, now_);
    if (start - now_ > per_frame * traits.queue_packets) {
      ++link.counts.queue_dropped;
      link.counts.payload_bytes_lost += tcp_payload_bytes(bytes);
      return;
    }
    leaves = busy = start + per_frame;
  }
  for (const Blackout& blackout : traits.blackouts) {
    if (leaves >= blackout.from && leaves < blackout.until) {
      ++link.counts.blacked_out;
      link.counts.payload_bytes_lost += tcp_payload_bytes(bytes);
      return;
    }
  }
  if (link.burst_left == 0 && random_.chance_ppm(traits.burst_ppm)) link.burst_left = traits.burst_packets;
  const bool burst = link.burst_left > 0;
  if (burst) --link.burst_left;
  if (burst || random_.chance_ppm(traits.loss_ppm)) {
    ++link.counts.lost;
    link.counts.payload_bytes_lost += tcp_payload_bytes(bytes);
    return;
  }

  auto flying = std::make_shared<Packet>(copy_of(packet));
  if (!traits.offloads && random_.chance_ppm(traits.corrupt_ppm)) {
    // Behind the Ethernet header, whose damage would only be an address nobody has. Frames here fit one buffer.
    const uint64_t bit = random_.below((bytes.size() - 14) * 8);
    const MutableByteView target = flying->front_mutable();
    if (14 + bit / 8 < target.size()) target[14 + bit / 8] ^= static_cast<uint8_t>(1u << (bit % 8));
    ++link.counts.corrupted;
  }
  Instant arrives = leaves + traits.delay;
  if (random_.chance_ppm(traits.reorder_ppm)) {
    arrives += traits.reorder_delay;
    ++link.counts.reordered;
  }

  // A switch: learned stations are sent to alone, all others to everybody.
  std::array<uint8_t, 6> destination;
  std::array<uint8_t, 6> source;
  std::copy_n(bytes.begin(), 6, destination.begin());
  std::copy_n(bytes.begin() + 6, 6, source.begin());
  link.learned[source] = from.number_;
  const auto known = link.learned.find(destination);
  const int copies = random_.chance_ppm(traits.duplicate_ppm) ? 2 : 1;
  if (copies == 2) ++link.counts.duplicated;
  for (int i = 0; i < copies; ++i) {
    for (const uint32_t to : link.stations) {
      if (to == from.number_ || (known != link.learned.end() && known->second != to)) continue;
      flights_.push({arrives + i * 10us, order_++, to, flying});
    }
  }
}

void Network::deliver(Instant now) {
  now_ = now;
  while (!flights_.empty() && flights_.top().at <= now) {
    const Flight flight = std::move(const_cast<Flight&>(flights_.top()));
    flights_.pop();
    // The last to receive a frame gets it, others a copy.
    Station& station = *stations_[flight.station];
    station.received_.push_back(flight.frame.use_count() > 1 ? copy_of(*flight.frame) : std::move(*flight.frame));
  }
}

}  // namespace culvert::sim
