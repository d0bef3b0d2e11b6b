// One interface's link layer: frames to IP packets and back, with the neighbours of that link (ARP and IPv6 neighbour
// discovery).
//
//   port ── receive(frame) ─▶ Link ─▶ Received: an IP packet, or nothing (ARP and ND end here)
//   ip ── encapsulate(packet, next hop) ─▶ Link ─▶ kReady: the same packet as a frame, or kHeld until resolved
//                                          │
//                  take_output() ◀── answers, solicitations, packets whose next hop was resolved
//                  take_undeliverable() ◀── IP packets whose next hop did not answer (for an ICMP error)
//
// Neighbour states are those of RFC 4861 7.3.2, for ARP as well. Nothing is allocated after construction but by the
// set-up calls; time comes in as `now`. Belongs to one core.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/ip_address.h"
#include "base/time.h"
#include "packet/packet.h"
#include "telemetry/counters.h"
#include "wire/ethernet.h"

namespace culvert::eth {

struct LinkLimits {
  uint32_t neighbours_max = 1024;
  uint8_t held_per_neighbour_max = 8;  // packets that wait for one resolution; the oldest gives way (RFC 4861 7.2.2)
  uint32_t held_max = 256;             // packets that wait on this link altogether
  uint32_t output_max = 512;           // frames of the link's own not yet taken
};

// RFC 4861 10.
struct NeighbourTimes {
  Duration retransmit = 1s;  // RetransTimer
  Duration reachable = 30s;  // base; each entry's own lies between half and one and a half times it
  Duration delay_first_probe = 5s;
  uint8_t multicast_solicits_max = 3;
  uint8_t unicast_solicits_max = 3;
  Duration defend_interval = 10s;  // RFC 5227 1.1: at most one defence of an own address per interval
};

struct LinkConfig {
  wire::MacAddress mac;  // ours on this link
  uint16_t vlan = 0;     // 0: untagged frames only; otherwise frames of this VLAN only
  // Addresses that are this node's on the link: gateways on a pod's link, own addresses on an uplink. Solicitations for
  // them are answered, with the override flag.
  std::vector<IpAddress> own;
  // Whom we accept as a neighbour. A pod's link: its attachment's addresses; an uplink: the on-link prefixes, or
  // everything. Link-local IPv6 addresses are always accepted. Others' claims are counted and change nothing.
  std::vector<Prefix> neighbours;
  // When set, frames from other stations are dropped and counted (an attachment bound to its MAC).
  std::optional<wire::MacAddress> peer_mac;
  // Also answer for every address inside these, except those in `neighbours`: for pods that believe the rest of their
  // subnet to be on the link.
  std::vector<Prefix> proxied;
  LinkLimits limits;
  NeighbourTimes times;
};

enum class ReceivedKind : uint8_t { kNone, kIpv4, kIpv6 };

struct Received {
  ReceivedKind kind = ReceivedKind::kNone;
  Packet packet;                // starts with the IP header; padding may follow the datagram
  bool link_multicast = false;  // came to a group or broadcast MAC address: never answered by an ICMP error
};

enum class Encapsulated : uint8_t {
  kReady,    // the packet is a frame now
  kHeld,     // taken: waits for the neighbour to answer
  kDropped,  // taken and counted: no room for the header, or too many are waiting
};

enum class NeighbourState : uint8_t { kIncomplete, kReachable, kStale, kDelay, kProbe };

struct Neighbour {
  IpAddress address;
  wire::MacAddress mac;  // zero while incomplete
  NeighbourState state;
};

class Link {
 public:
  // Pool and counters outlive the link. `seed` draws reachable times.
  Link(const LinkConfig& config, BufferPool& pool, Counters& counters, uint64_t seed, Instant start);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  // --- from the port ---------------------------------------------------------------------------------------------
  // Takes a received frame. ARP and neighbour discovery are consumed here; what cannot be used is dropped and counted.
  Received receive(Packet frame, Instant now);

  // --- to the port -----------------------------------------------------------------------------------------------
  // Puts the Ethernet header for `next_hop` in front (mbuf l2_len is set) or holds the packet. Empty afterwards unless
  // kReady. Multicast and broadcast next hops need no resolution.
  Encapsulated encapsulate(Packet& packet, const IpAddress& next_hop, Instant now);
  bool has_output() const;
  size_t take_output(std::span<Packet> frames);
  // Held IP packets whose next hop did not answer, each with its IP header first.
  size_t take_undeliverable(std::span<Packet> packets);

  // --- time ------------------------------------------------------------------------------------------------------
  void poll(Instant now);
  Instant next_deadline() const;

  // --- knowledge -------------------------------------------------------------------------------------------------
  // The upper layer saw forward progress through this neighbour (RFC 4861 7.3.1): new data was acknowledged.
  void confirm(const IpAddress& next_hop, Instant now);
  // Answer for an address on behalf of somebody behind us (an attached pod, on an uplink): proxy ARP and proxy ND.
  void add_proxied(const IpAddress& address);
  void remove_proxied(const IpAddress& address);
  // Tells the link where an own or proxied address is: gratuitous ARP (RFC 5944 4.6) or an unsolicited neighbour
  // advertisement.
  void announce(const IpAddress& address, Instant now);
  // For listings and tests.
  std::optional<Neighbour> find(const IpAddress& address, Instant now) const;
  std::vector<Neighbour> neighbours(Instant now) const;
  const wire::MacAddress& mac() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace culvert::eth
