// What an IP packet that came in is, and for whom: the validation of RFC 1122 3.2.1, RFC 1812 5.2 and 5.3.7, RFC 8200,
// the source check of each attachment (D16), and ICMP for the node's own addresses.
//
//   eth ── classify(interface, packet) ─▶ Verdict ─▶ kTcp: tcp   kReply: back out   kIcmpError: tcp   kForward: router
//
// A pure decision per packet: no state but the ICMP rate limits. Belongs to one core.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/interface_id.h"
#include "base/ip_address.h"
#include "base/time.h"
#include "ip/datagram.h"
#include "ip/icmp_error.h"
#include "packet/packet.h"
#include "telemetry/counters.h"

namespace culvert::ip {

struct InterfaceConfig {
  // This node's addresses on the interface (gateways, own addresses), with the length of their subnet; a host length
  // knows no broadcast address. Echo is answered for them, and ICMP errors leave from the first of the packet's family.
  std::vector<Prefix> own;
  // With check_source only packets from these addresses are accepted (D16).
  bool check_source = false;
  std::vector<IpAddress> sources;
};

enum class VerdictKind : uint8_t {
  kDrop,       // gone; counted under `reason`
  kTcp,        // a TCP segment, to whatever destination: its checksum is right, its first 60 bytes are contiguous
  kReply,      // `packet` is our answer: a whole IP packet from datagram.source to datagram.destination
  kIcmpError,  // somebody says what became of a TCP segment that we, or a pod through us, sent: `error`
  kForward,    // anything else, to another address than ours
};

struct Verdict {
  VerdictKind kind = VerdictKind::kDrop;
  DropReason reason{};    // kDrop only
  Packet packet;          // starts with the IP header; drop_header() takes it off. Empty for kDrop
  Datagram datagram;      // kTcp, kForward, kIcmpError: of the packet received; kReply: of our answer
  IcmpErrorReport error;  // kIcmpError only

  // For kTcp: the packet then starts with the TCP header.
  void drop_header() { packet.trim_front(datagram.header_bytes); }
};

struct IcmpLimits {
  // Errors that an interface may cause (RFC 1812 4.3.2.8, RFC 4443 2.4(f): a token bucket).
  uint32_t errors_per_second = 100;
  uint32_t errors_burst = 50;
};

class Input {
 public:
  // Pool and counters outlive it.
  Input(BufferPool& pool, Counters& counters, const IcmpLimits& limits, Instant start);
  ~Input();
  Input(const Input&) = delete;
  Input& operator=(const Input&) = delete;

  void set_interface(InterfaceId interface, const InterfaceConfig& config);
  void remove_interface(InterfaceId interface);

  // `packet` starts with an IP header of either family and may be longer than the datagram (link padding).
  // `link_multicast`: it came to a group MAC address; such a packet never causes an error (RFC 1122 3.2.2).
  Verdict classify(InterfaceId interface, Packet packet, bool link_multicast, Instant now);

  // An error about a packet received on `interface`, to be sent back to its source: from the interface's own address,
  // quoting as much as fits in 576 (ICMP, RFC 1812 4.3.2.3) or 1280 bytes (ICMPv6, RFC 4443 3.1). `about` starts with
  // its IP header. kDrop, counted, when the rate is exceeded, no buffer or no own address is there, or the standards
  // forbid an answer.
  Verdict make_error(InterfaceId interface, const Packet& about, const Datagram& datagram, IcmpError error,
                     Instant now);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace culvert::ip
