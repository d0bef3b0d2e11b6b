// What is special about a driver, each with its witness in quirks/<driver>.cc. Drivers that are not listed are
// believed.
#pragma once

#include <cstdint>
#include <string_view>

namespace culvert::ethdev {

struct Quirks {
  uint64_t rx_offloads_refused = 0;  // RTE_ETH_RX_OFFLOAD_*: claimed, not used
  uint64_t tx_offloads_refused = 0;
  bool rx_interrupts = true;    // receive interrupts are worth asking for
  uint16_t rx_descriptors = 0;  // 0: as set
  uint16_t tx_descriptors = 0;
};

// By the driver's name ("net_memif").
Quirks quirks_of(std::string_view driver);

Quirks memif_quirks();
Quirks af_xdp_quirks();
Quirks tap_quirks();

}  // namespace culvert::ethdev
