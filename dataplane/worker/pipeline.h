// The path of packets through one worker, in order:
//
//   port ─▶ eth ─▶ ip ─▶ (steering) ─▶ tcp          tcp ─▶ ip ─▶ eth ─▶ port
//
// Every room on the way returns what is to happen next; this is the one place that hands it on. What rides inside TCP
// (tls, http2, hbone) and decides about it (proxy) is driven by worker.cc from TCP's events.
//
// Two pods of one node meet on the in-node link: segments sent on kLinkOut arrive on kLinkIn and back. They are the
// same core's, so they carry no IP header on that way; tunnel, identities and policy are those of any other connection.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/interface_id.h"
#include "base/timer_wheel.h"
#include "ip/fib.h"
#include "ip/input.h"
#include "tcp/stack.h"
#include "telemetry/counters.h"
#include "worker/interface.h"

namespace culvert::worker {

// The two ends of the in-node link: connections are opened on kLinkOut and accepted on kLinkIn.
inline constexpr InterfaceId kLinkOut{0};
inline constexpr InterfaceId kLinkIn{1};
inline constexpr InterfaceId kFirstPort{2};

// Largest IP packet on the in-node link: no wire limits it.
inline constexpr uint16_t kLinkMtu = 65'000;

// What an interface is configured with; the port comes wrapped.
struct InterfaceSetup {
  InterfaceId id = kNoInterface;
  std::string name;
  PortRole role = PortRole::kPods;
  eth::LinkConfig link;
  ip::InterfaceConfig ip;
};

// A TCP segment between ip and tcp: the packet starts with the TCP header, its checksum was verified.
struct ArrivedSegment {
  InterfaceId interface = kNoInterface;
  tcp::Tuple tuple;  // local = the packet's destination
  bool ecn_ce = false;
  Packet packet;
};

// Where packets go that are another worker's (D4). Null with one worker.
class Steering {
 public:
  virtual ~Steering() = default;
  // False: the segment is this worker's own. True: it was handed over, or dropped and counted.
  virtual bool hand_over(ArrivedSegment& segment) = 0;
  // An IP packet for an interface that another worker drives. False: this worker drives it.
  virtual bool send_elsewhere(InterfaceId interface, const IpAddress& next_hop, Packet& packet) = 0;
};

class Pipeline {
 public:
  Pipeline(BufferPool& pool, Counters& counters, tcp::Stack& tcp, Steering* steering, uint64_t seed, Instant start);
  ~Pipeline();
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  // --- interfaces --------------------------------------------------------------------------------------------------
  Interface& add(const InterfaceSetup& setup, std::unique_ptr<port::Port> port, Instant now);
  // Sends what waits, then closes the port.
  void remove(InterfaceId id, Instant now);
  Interface* find(InterfaceId id);
  template <class Visit>
  void for_each_interface(Visit&& visit) {
    for (const auto& interface : interfaces_) {
      if (interface) visit(*interface);
    }
  }
  ip::Fib& fib() { return fib_; }
  // The uplink towards an address; none without a route.
  std::optional<ip::NextHop> next_hop(const IpAddress& destination) const { return fib_.lookup(destination); }

  // --- a turn ------------------------------------------------------------------------------------------------------
  // Reads each readable port once, at most a burst. Returns the packets received.
  size_t receive(Instant now);
  // A segment of a flow of ours: received here, or handed over by the worker that received it.
  void on_segment(ArrivedSegment arrived, Instant now);
  // Sends an IP packet another worker made for one of our interfaces.
  void send(InterfaceId interface, const IpAddress& next_hop, Packet packet, Instant now);
  void poll(Instant now);
  // Moves TCP's segments out until it has none or `budget` is used up. True: more waits.
  bool transmit(Instant now, size_t budget);
  // Gives the ports what waits for them and sets the links' timers. True: a port was full.
  bool flush(Instant now);
  // Something was written to the interface's link: flush() looks at it.
  void touch(Interface& interface);
  Instant next_deadline() const { return timers_.next_deadline(); }
  bool readable() const;

 private:
  void on_frame(Interface& interface, Packet frame, Instant now);
  void on_reply(Interface& interface, ip::Verdict verdict, Instant now);
  void on_forward(Interface& interface, ip::Verdict verdict, Instant now);
  void on_undeliverable(Interface& interface, Packet packet, Instant now);
  void send_segment(tcp::OutSegment& segment, Instant now);
  void deliver_in_node(tcp::OutSegment& segment, Instant now);
  void put(Interface& interface, Packet frame);

  BufferPool& pool_;
  Counters& counters_;
  tcp::Stack& tcp_;
  Steering* steering_;
  const uint64_t seed_;
  ip::Input ip_;
  ip::Fib fib_;
  TimerWheel timers_;
  std::vector<std::unique_ptr<Interface>> interfaces_;  // by id
  std::vector<Interface*> touched_;
  std::vector<Interface*> flushing_;
};

}  // namespace culvert::worker
