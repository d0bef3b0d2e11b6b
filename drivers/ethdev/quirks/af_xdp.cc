// net_af_xdp: a queue of a kernel device through XDP sockets (DPDK 22.11 drivers/net/af_xdp).
#include "drivers/ethdev/quirks/quirks.h"

namespace culvert::ethdev {

Quirks af_xdp_quirks() {
  Quirks q;
  // The driver has no rx_queue_intr_enable: asking for interrupts makes rte_eth_dev_start fail or changes nothing.
  q.rx_interrupts = false;
  // The sizes of its four rings are those of the queues, and the kernel wants powers of two:
  // XSK_RING_*_DEFAULT_NUM_DESCS.
  q.rx_descriptors = 2048;
  q.tx_descriptors = 2048;
  return q;
}

}  // namespace culvert::ethdev
