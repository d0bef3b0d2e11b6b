#include "worker/pipeline.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/endian.h"
#include "ip/output.h"
#include "wire/ip_protocol.h"
#include "wire/tcp_header.h"

namespace culvert::worker {

namespace {

tcp::IcmpErrorKind kind_for_tcp(ip::IcmpErrorKind kind) {
  switch (kind) {
    case ip::IcmpErrorKind::kUnreachable:
      return tcp::IcmpErrorKind::kUnreachable;
    case ip::IcmpErrorKind::kPortUnreachable:
      return tcp::IcmpErrorKind::kPortUnreachable;
    case ip::IcmpErrorKind::kProhibited:
      return tcp::IcmpErrorKind::kProhibited;
    case ip::IcmpErrorKind::kTooBig:
      return tcp::IcmpErrorKind::kTooBig;
    case ip::IcmpErrorKind::kTimeExceeded:
      return tcp::IcmpErrorKind::kTimeExceeded;
    case ip::IcmpErrorKind::kOther:
      return tcp::IcmpErrorKind::kOther;
  }
  return tcp::IcmpErrorKind::kOther;
}

// The TCP segment in a whole packet of our own making: no options, no extension headers.
struct OwnSegment {
  tcp::Tuple tuple;
  uint32_t sequence;
};

std::optional<OwnSegment> own_segment(ByteView packet) {
  if (packet.empty()) return std::nullopt;
  const bool v4 = packet[0] >> 4 == 4;
  const size_t header = v4 ? 20 : 40;
  const size_t protocol_at = v4 ? 9 : 6;
  if (packet.size() < header + 8 || packet[protocol_at] != static_cast<uint8_t>(wire::IpProtocol::kTcp)) {
    return std::nullopt;
  }
  OwnSegment segment;
  segment.tuple.local.address = v4 ? IpAddress::v4(&packet[12]) : IpAddress::v6(&packet[8]);
  segment.tuple.remote.address = v4 ? IpAddress::v4(&packet[16]) : IpAddress::v6(&packet[24]);
  segment.tuple.local.port = load_be16(&packet[header]);
  segment.tuple.remote.port = load_be16(&packet[header + 2]);
  segment.sequence = load_be32(&packet[header + 4]);
  return segment;
}

}  // namespace

Pipeline::Pipeline(BufferPool& pool, Counters& counters, tcp::Stack& tcp, Steering* steering, uint64_t seed,
                   Instant start)
    : pool_(pool),
      counters_(counters),
      tcp_(tcp),
      steering_(steering),
      seed_(seed),
      ip_(pool, counters, ip::IcmpLimits{}, start),
      timers_(start) {}

Pipeline::~Pipeline() = default;

Interface& Pipeline::add(const InterfaceSetup& setup, std::unique_ptr<port::Port> port, Instant now) {
  const auto index = static_cast<size_t>(setup.id);
  if (interfaces_.size() <= index) interfaces_.resize(index + 1);
  auto interface = std::make_unique<Interface>();
  interface->id = setup.id;
  interface->name = setup.name;
  interface->role = setup.role;
  interface->port = std::make_unique<port::OffloadPort>(std::move(port), pool_, counters_);
  interface->link = std::make_unique<eth::Link>(setup.link, pool_, counters_, seed_ ^ index, now);
  interface->waiting.reserve(kWaitingMax);
  ip_.set_interface(setup.id, setup.ip);
  // Neighbours that knew another station under our addresses (a node that was replaced) are told at once.
  for (const IpAddress& own : setup.link.own) interface->link->announce(own, now);
  Interface& added = *(interfaces_[index] = std::move(interface));
  touch(added);
  return added;
}

void Pipeline::remove(InterfaceId id, Instant now) {
  Interface* interface = find(id);
  if (!interface) return;
  transmit(now, SIZE_MAX);
  flush(now);
  std::erase(touched_, interface);
  ip_.remove_interface(id);
  fib_.remove_interface(id);
  interfaces_[static_cast<size_t>(id)].reset();
}

Interface* Pipeline::find(InterfaceId id) {
  const auto index = static_cast<size_t>(id);
  return index < interfaces_.size() ? interfaces_[index].get() : nullptr;
}

void Pipeline::touch(Interface& interface) {
  if (interface.touched) return;
  interface.touched = true;
  touched_.push_back(&interface);
}

// --- in ------------------------------------------------------------------------------------------------------------

size_t Pipeline::receive(Instant now) {
  size_t received = 0;
  std::array<Packet, kBurst> burst;
  for (const auto& interface : interfaces_) {
    if (!interface || !interface->readable) continue;
    const size_t n = interface->port->rx_burst(burst);
    // A port without a descriptor is looked at in every turn; one that has it waits for its next edge.
    if (n == 0 && interface->port->wakeup().fd >= 0) interface->readable = false;
    if (n > 0) touch(*interface);
    received += n;
    for (size_t i = 0; i < n; ++i) {
      counters_.add(Counter::kPortRxPacket);
      counters_.add(Counter::kPortRxByte, burst[i].bytes());
      on_frame(*interface, std::move(burst[i]), now);
    }
  }
  return received;
}

bool Pipeline::readable() const {
  return std::any_of(interfaces_.begin(), interfaces_.end(),
                     [](const auto& i) { return i && i->readable && i->port->wakeup().fd >= 0; });
}

void Pipeline::on_frame(Interface& interface, Packet frame, Instant now) {
  eth::Received received = interface.link->receive(std::move(frame), now);
  if (received.kind == eth::ReceivedKind::kNone) return;  // ARP and neighbour discovery end in eth

  ip::Verdict verdict = ip_.classify(interface.id, std::move(received.packet), received.link_multicast, now);
  switch (verdict.kind) {
    case ip::VerdictKind::kDrop:
      return;
    case ip::VerdictKind::kReply:
      return on_reply(interface, std::move(verdict), now);
    case ip::VerdictKind::kForward:
      return on_forward(interface, std::move(verdict), now);
    case ip::VerdictKind::kIcmpError: {
      const ip::IcmpErrorReport& error = verdict.error;
      tcp_.on_icmp_error(interface.id, {error.local, error.remote}, error.sequence, kind_for_tcp(error.kind), error.mtu,
                         now);
      return;
    }
    case ip::VerdictKind::kTcp:
      break;
  }

  verdict.drop_header();
  ArrivedSegment arrived;
  arrived.interface = interface.id;
  arrived.packet = std::move(verdict.packet);
  const ByteView header = arrived.packet.front();
  if (header.size() < wire::kTcpHeaderBytesMin) return counters_.drop(DropReason::kTcpTooShort);
  arrived.tuple.local = {verdict.datagram.destination, load_be16(&header[2])};
  arrived.tuple.remote = {verdict.datagram.source, load_be16(&header[0])};
  arrived.ecn_ce = verdict.datagram.ecn_ce();
  if (steering_ && steering_->hand_over(arrived)) return;
  on_segment(std::move(arrived), now);
}

void Pipeline::on_segment(ArrivedSegment arrived, Instant now) {
  const auto parsed = wire::parse_tcp(arrived.packet.front());
  if (!parsed) return counters_.drop(tcp::reason_of(parsed.error()));
  tcp::Segment segment;
  segment.interface = arrived.interface;
  segment.tuple = arrived.tuple;
  segment.header = parsed->header;
  segment.ecn_ce = arrived.ecn_ce;
  segment.payload = std::move(arrived.packet);
  segment.payload.trim_front(parsed->header_bytes);
  tcp_.on_segment(std::move(segment), now);
}

void Pipeline::on_reply(Interface& interface, ip::Verdict verdict, Instant now) {
  // Answers go back over the interface the question came from; on an uplink perhaps through a router.
  const auto route = interface.role == PortRole::kUplink ? fib_.lookup(verdict.datagram.destination) : std::nullopt;
  const bool routed = route && route->interface == interface.id;
  send(interface.id, routed ? route->address : verdict.datagram.destination, std::move(verdict.packet), now);
}

void Pipeline::on_forward(Interface& interface, ip::Verdict verdict, Instant now) {
  // Nothing but TCP is carried yet; whoever sent it is told so instead of waiting for a timeout.
  counters_.drop(DropReason::kIpForwardNotCarried);
  ip::Verdict error =
      ip_.make_error(interface.id, verdict.packet, verdict.datagram, {.kind = ip::IcmpError::Kind::kProhibited}, now);
  if (error.kind == ip::VerdictKind::kReply) on_reply(interface, std::move(error), now);
}

void Pipeline::on_undeliverable(Interface& interface, Packet packet, Instant now) {
  const auto segment = own_segment(packet.front());
  if (!segment) return;
  tcp_.on_icmp_error(interface.id, segment->tuple, segment->sequence, tcp::IcmpErrorKind::kUnreachable, 0, now);
}

// --- out -----------------------------------------------------------------------------------------------------------

bool Pipeline::transmit(Instant now, size_t budget) {
  std::array<tcp::OutSegment, kBurst> out;
  while (tcp_.has_output()) {
    if (budget == 0) return true;
    const size_t n = tcp_.take_output(std::span(out).first(std::min(budget, out.size())), now);
    if (n == 0) return false;
    budget -= n;
    for (size_t i = 0; i < n; ++i) {
      if (out[i].interface == kLinkOut || out[i].interface == kLinkIn) {
        deliver_in_node(out[i], now);
      } else {
        send_segment(out[i], now);
      }
    }
  }
  return false;
}

void Pipeline::send_segment(tcp::OutSegment& segment, Instant now) {
  ip::OutDatagram header;
  header.source = segment.source;
  header.destination = segment.destination;
  header.transport_header_bytes = segment.header_bytes;
  header.segment_bytes = segment.segment_bytes;
  if (!ip::prepend_header(segment.packet, header)) return counters_.drop(DropReason::kIpNoHeadroom);

  // A pod is its own next hop; beyond an uplink the routes say.
  IpAddress next_hop = segment.destination;
  if (const auto route = fib_.lookup(segment.destination); route && route->interface == segment.interface) {
    next_hop = route->address;
  }
  if (steering_ && steering_->send_elsewhere(segment.interface, next_hop, segment.packet)) return;
  send(segment.interface, next_hop, std::move(segment.packet), now);
}

void Pipeline::send(InterfaceId id, const IpAddress& next_hop, Packet packet, Instant now) {
  Interface* interface = find(id);
  if (!interface) return counters_.drop(DropReason::kInterfaceGone);
  touch(*interface);
  if (interface->link->encapsulate(packet, next_hop, now) == eth::Encapsulated::kReady) {
    put(*interface, std::move(packet));
  }
}

void Pipeline::deliver_in_node(tcp::OutSegment& out, Instant now) {
  const auto parsed = wire::parse_tcp(out.packet.front());
  DP_CHECK(parsed.ok());  // our own header
  tcp::Segment segment;
  segment.interface = out.interface == kLinkOut ? kLinkIn : kLinkOut;
  segment.header = parsed->header;
  segment.tuple.local = {out.destination, parsed->header.destination_port};
  segment.tuple.remote = {out.source, parsed->header.source_port};
  segment.payload = std::move(out.packet);
  segment.payload.trim_front(parsed->header_bytes);
  counters_.add(Counter::kInNodeSegment);
  tcp_.on_segment(std::move(segment), now);
}

void Pipeline::put(Interface& interface, Packet frame) {
  if (interface.waiting.size() >= kWaitingMax) return counters_.drop(DropReason::kPortTxFull);
  counters_.add(Counter::kPortTxPacket);
  counters_.add(Counter::kPortTxByte, frame.bytes());
  interface.waiting.push_back(std::move(frame));
}

// --- turn ----------------------------------------------------------------------------------------------------------

void Pipeline::poll(Instant now) {
  timers_.expire(now, [&](TimerEntry& entry) {
    auto& interface = static_cast<Interface&>(entry);
    interface.link->poll(now);
    touch(interface);
  });
}

bool Pipeline::flush(Instant now) {
  bool full = false;
  std::array<Packet, kBurst> burst;
  std::swap(touched_, flushing_);  // a port that stays full is touched again for the next turn
  for (Interface* interface : flushing_) {
    interface->touched = false;
    while (const size_t n = interface->link->take_output(burst)) {
      for (size_t i = 0; i < n; ++i) put(*interface, std::move(burst[i]));
    }
    while (const size_t n = interface->link->take_undeliverable(burst)) {
      for (size_t i = 0; i < n; ++i) on_undeliverable(*interface, std::move(burst[i]), now);
    }
    auto& waiting = interface->waiting;
    const size_t sent = interface->port->tx_burst(waiting);
    waiting.erase(waiting.begin(), waiting.begin() + static_cast<std::ptrdiff_t>(sent));
    timers_.schedule(*interface, interface->link->next_deadline());
    if (!waiting.empty() || interface->port->has_pending()) {
      full = true;
      touch(*interface);
    }
  }
  flushing_.clear();
  return full;
}

}  // namespace culvert::worker
