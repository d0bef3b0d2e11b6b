// net_memif: shared memory between two processes (DPDK 22.11 drivers/net/memif).
#include "drivers/ethdev/quirks/quirks.h"

namespace culvert::ethdev {

Quirks memif_quirks() {
  Quirks q;
  // Guide "Memif Poll Mode Driver": rings are polled; its interrupt file carries connection events only.
  q.rx_interrupts = false;
  return q;
}

}  // namespace culvert::ethdev
