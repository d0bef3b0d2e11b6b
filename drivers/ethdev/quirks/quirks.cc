#include "drivers/ethdev/quirks/quirks.h"

namespace culvert::ethdev {

Quirks quirks_of(std::string_view driver) {
  if (driver == "net_memif") return memif_quirks();
  if (driver == "net_af_xdp") return af_xdp_quirks();
  if (driver == "net_tap") return tap_quirks();
  return {};
}

}  // namespace culvert::ethdev
