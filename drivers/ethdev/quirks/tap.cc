// net_tap: a TAP device behind DPDK's own driver (DPDK 22.11 drivers/net/tap). Our drivers/tap is the better way to the
// kernel; this one stands in for a NIC in tests. The driver gives the kernel's device its own MAC address: whoever uses
// the other end must set another one, or frames seem to come from ourselves.
#include "drivers/ethdev/quirks/quirks.h"

#include <rte_ethdev.h>

namespace culvert::ethdev {

Quirks tap_quirks() {
  Quirks q;
  // pmd_tx_burst compares a segment with its Ethernet header to the MTU, which does not count that header: segments
  // that fill the MTU are never sent, and block the queue.
  q.tx_offloads_refused = RTE_ETH_TX_OFFLOAD_TCP_TSO;
  // tap_tx_l4_cksum adds up a packet's segments as if each began at an even offset: behind one of odd length the
  // checksum is wrong, and the peer drops the packet. Ours are sums over pieces of TLS records, often odd.
  q.tx_offloads_refused |= RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;
  return q;
}

}  // namespace culvert::ethdev
