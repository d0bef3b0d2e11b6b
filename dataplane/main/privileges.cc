#include "main/privileges.h"

#include <cap-ng.h>
#include <rte_alarm.h>
#include <sys/prctl.h>

#include <cerrno>
#include <cstring>
#include <semaphore>

namespace culvert {

namespace {

Result<void, std::string> drop_of_this_thread() {
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

struct InterruptThread {
  Result<void, std::string> outcome;
  std::binary_semaphore done{0};
};

}  // namespace

Result<void, std::string> drop_all_capabilities() {
  // Capabilities are a thread's own. EAL's interrupt thread was started with them, and runs the alarms.
  InterruptThread other;
  const int error = rte_eal_alarm_set(
      1,
      [](void* context) {
        auto& self = *static_cast<InterruptThread*>(context);
        self.outcome = drop_of_this_thread();
        self.done.release();
      },
      &other);
  if (error != 0) return std::string("cannot reach the interrupt thread: ") + std::strerror(-error);
  other.done.acquire();
  if (!other.outcome) return other.outcome;
  return drop_of_this_thread();
}

bool holds_no_capability() {
  capng_get_caps_process();
  return capng_have_capabilities(CAPNG_SELECT_CAPS) == CAPNG_NONE;
}

}  // namespace culvert
