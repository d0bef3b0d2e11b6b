#include "main/privileges.h"

#include <cap-ng.h>
#include <sys/prctl.h>

#include <cerrno>
#include <cstring>

namespace culvert {

Result<void, std::string> drop_all_capabilities() {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return std::string("cannot set no_new_privs: ") + std::strerror(errno);
  }
  capng_clear(CAPNG_SELECT_ALL);
  if (capng_apply(CAPNG_SELECT_ALL) != 0 && capng_apply(CAPNG_SELECT_CAPS) != 0) {
    // The bounding set needs CAP_SETPCAP, which a service that was started with few capabilities may lack; the other
    // sets can always be emptied.
    return std::string("cannot drop capabilities");
  }
  return {};
}

bool holds_no_capability() {
  capng_get_caps_process();
  return capng_have_capabilities(CAPNG_SELECT_CAPS) == CAPNG_NONE;
}

}  // namespace culvert
