#include "tests/tools/packetdrill/engine.h"

#include <algorithm>
#include <cerrno>

#include "base/endian.h"
#include "ip/output.h"
#include "wire/checksum.h"

namespace culvert::packetdrill {

namespace {

constexpr Duration kReceivePatience = 60s;
constexpr auto kRealPatience = 200ms;
constexpr uint16_t kTcpChecksumOffset = 16;

tcp::IcmpErrorKind kind_of(ip::IcmpErrorKind kind) {
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

int errno_of(ip::IcmpErrorKind kind) {
  switch (kind) {
    case ip::IcmpErrorKind::kPortUnreachable:
      return ECONNREFUSED;
    case ip::IcmpErrorKind::kProhibited:
    case ip::IcmpErrorKind::kUnreachable:
    case ip::IcmpErrorKind::kTimeExceeded:
      return EHOSTUNREACH;
    default:
      return EPROTO;
  }
}

}  // namespace

Engine::Engine(const Flags& flags)
    : flags_(flags),
      pool_(BufferPool::on_heap({.small = 100'000, .large = 20'000, .view = 100'000})),
      input_(std::make_unique<ip::Input>(*pool_, counters_, ip::IcmpLimits{}, now_)),
      stack_(std::make_unique<tcp::Stack>(tcp::StackLimits{}, *pool_, counters_, flags.seed, now_)),
      driver_(std::this_thread::get_id()) {
  input_->set_interface(kWire, {.own = {Prefix::host(flags.local_v4), Prefix::host(flags.local_v6)}, .sources = {}});
  accept_with({});
}

Engine::~Engine() = default;

void Engine::accept_with(const tcp::ConnectionOptions& options) {
  stack_->set_interface(kWire, {.mtu = flags_.mtu},
                        {[](void* self, InterfaceId, const tcp::Tuple& tuple) {
                           return static_cast<Engine*>(self)->listener_->on_syn(tuple);
                         },
                         this},
                        options);
}

// --- packets
// ------------------------------------------------------------------------------------------------------------

void Engine::send(ByteView bytes) {
  driver_ = std::this_thread::get_id();
  ip::Verdict verdict = input_->classify(kWire, pool_->take_exact_copy(bytes), false, now_);
  if (verdict.kind == ip::VerdictKind::kIcmpError) {
    const ip::IcmpErrorReport& e = verdict.error;
    last_icmp_errno_ = errno_of(e.kind);
    stack_->on_icmp_error(kWire, {e.local, e.remote}, e.sequence, kind_of(e.kind), e.mtu, now_);
  } else if (verdict.kind == ip::VerdictKind::kTcp) {
    verdict.drop_header();
    const auto parsed = wire::parse_tcp(verdict.packet.front());
    if (!parsed) {
      counters_.drop(tcp::reason_of(parsed.error()));
    } else {
      tcp::Segment segment;
      segment.interface = kWire;
      segment.tuple = {{verdict.datagram.destination, parsed->header.destination_port},
                       {verdict.datagram.source, parsed->header.source_port}};
      segment.header = parsed->header;
      segment.ecn_ce = verdict.datagram.ecn_ce();
      segment.payload = std::move(verdict.packet);
      segment.payload.trim_front(parsed->header_bytes);
      last_icmp_errno_ = 0;
      stack_->on_segment(std::move(segment), now_);
    }
  }
  settle();
}

void Engine::transmit(tcp::OutSegment& segment) {
  const uint16_t ip_bytes = segment.destination.is_v4() ? 20 : 40;
  if (!ip::prepend_header(segment.packet, {.source = segment.source,
                                           .destination = segment.destination,
                                           .transport_header_bytes = segment.header_bytes,
                                           .segment_bytes = segment.segment_bytes})) {
    return;
  }
  Sent sent{std::vector<uint8_t>(segment.packet.bytes()), to_us(now_.time_since_epoch())};
  segment.packet.copy_out(0, sent.bytes);
  // The checksum field holds the pseudo-header's sum: completing it is the device's part, which is ours here.
  store_be16(sent.bytes.data() + ip_bytes + kTcpChecksumOffset,
             wire::internet_checksum(ByteView(sent.bytes).subspan(ip_bytes)));
  outbox_.push_back(std::move(sent));
}

void Engine::settle() {
  for (bool busy = true; busy;) {
    busy = false;
    tcp::OutSegment out[16];
    while (const size_t n = stack_->take_output(out, now_)) {
      for (size_t i = 0; i < n; ++i) transmit(out[i]);
    }
    tcp::Event events[16];
    while (const size_t n = stack_->take_events(events)) {
      for (size_t i = 0; i < n; ++i) listener_->on_event(events[i]);
      busy = true;
    }
  }
  wake();
}

// --- time
// ---------------------------------------------------------------------------------------------------------------

int64_t Engine::read_clock_us() {
  if (unread_.erase(std::this_thread::get_id()) > 0) clock_read_.notify_all();
  const int64_t us = to_us(now_.time_since_epoch());
  now_ += 1us;
  return us;
}

void Engine::wake() {
  bool any = false;
  for (Waiter& w : waiters_) {
    if (w.woken || !(w.deadline <= now_ || (*w.ready)())) continue;
    w.woken = any = true;
    unread_.insert(w.thread);
  }
  if (any) woken_.notify_all();
}

void Engine::let_woken_read_the_clock(Lock& lock) {
  clock_read_.wait_for(lock, kRealPatience, [this] { return unread_.empty(); });
  unread_.clear();
}

bool Engine::wait(Lock& lock, const std::function<bool()>& ready, Instant deadline) {
  settle();
  if (ready()) return true;
  if (deadline <= now_) return false;
  if (std::this_thread::get_id() == driver_) {
    advance(lock, std::min(deadline, now_ + kReceivePatience), ready);
    return ready();
  }
  const auto me = waiters_.insert(waiters_.end(), Waiter{&ready, deadline, std::this_thread::get_id()});
  woken_.wait(lock, [me] { return me->woken; });
  waiters_.erase(me);
  return ready();
}

void Engine::advance(Lock& lock, Instant until, const std::function<bool()>& stop) {
  let_woken_read_the_clock(lock);
  while (!stop()) {
    Instant next = std::min(stack_->next_deadline(), until);
    for (const Waiter& w : waiters_) {
      if (!w.woken) next = std::min(next, w.deadline);
    }
    now_ = std::max(now_, next);
    stack_->poll(now_);
    settle();
    let_woken_read_the_clock(lock);
    if (next >= until) return;
  }
}

void Engine::sleep(Lock& lock, Duration duration) {
  // Not a sign of who moves the time: packetdrill's second thread sleeps until its call is due.
  advance(lock, now_ + duration, [] { return false; });
}

std::optional<Engine::Sent> Engine::receive(Lock& lock) {
  driver_ = std::this_thread::get_id();
  if (outbox_.empty()) advance(lock, now_ + kReceivePatience, [this] { return !outbox_.empty(); });
  if (outbox_.empty()) return std::nullopt;
  Sent sent = std::move(outbox_.front());
  outbox_.pop_front();
  return sent;
}

}  // namespace culvert::packetdrill
