#include "agent/privileges.h"

#include <cap-ng.h>
#include <sys/prctl.h>

#include <cerrno>
#include <cstring>

namespace culvert::agent {
namespace {

constexpr auto kHeld = static_cast<capng_type_t>(CAPNG_EFFECTIVE | CAPNG_PERMITTED);

}  // namespace

std::vector<std::string> missing_capabilities() {
  capng_get_caps_process();
  std::vector<std::string> out;
  const auto need = [&](unsigned capability, const char* name, const char* what) {
    if (capng_have_capability(CAPNG_EFFECTIVE, capability) != 0) return;
    out.push_back(std::string(name) + " is missing, without which this agent cannot " + what +
                  ": run it as root or give it the capability");
  };
  need(CAP_NET_ADMIN, "CAP_NET_ADMIN", "make pods' interfaces, addresses and routes");
  need(CAP_SYS_ADMIN, "CAP_SYS_ADMIN", "enter pods' network namespaces");
  return out;
}

std::string drop_other_capabilities() {
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return std::string("cannot set no_new_privs: ") + std::strerror(errno);
  }
  capng_get_caps_process();
  const bool ptrace = capng_have_capability(CAPNG_PERMITTED, CAP_SYS_PTRACE) != 0;
  const bool bounding = capng_have_capability(CAPNG_EFFECTIVE, CAP_SETPCAP) != 0;
  capng_clear(CAPNG_SELECT_BOTH);
  capng_updatev(CAPNG_ADD, kHeld, CAP_NET_ADMIN, CAP_SYS_ADMIN, -1);
  if (ptrace) capng_update(CAPNG_ADD, kHeld, CAP_SYS_PTRACE);
  // Emptying the bounding set takes a capability itself; no_new_privs makes it matter little.
  if (capng_apply(bounding ? CAPNG_SELECT_BOTH : CAPNG_SELECT_CAPS) != 0) return "cannot drop capabilities";
  return {};
}

}  // namespace culvert::agent
