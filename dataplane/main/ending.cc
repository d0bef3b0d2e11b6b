#include "main/ending.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/check.h"
#include "main/log.h"

namespace culvert {

namespace {
// How late the end of the last session may be seen.
constexpr int kLookMs = 20;
}  // namespace

Ending::Ending() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  signals_ = UniqueFd(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  begun_ = UniqueFd(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  DP_CHECK(signals_.get() >= 0 && begun_.get() >= 0);
}

void Ending::drain_begun() {
  const uint64_t one = 1;
  [[maybe_unused]] const auto put = write(begun_.get(), &one, sizeof one);
}

void Ending::wait(const std::function<void(std::string_view signal)>& begin_drain,
                  const std::function<bool()>& drained) {
  bool draining = false;
  while (!draining || !drained()) {
    pollfd look[] = {{signals_.get(), POLLIN, 0}, {begun_.get(), POLLIN, 0}};
    poll(look, 2, draining ? kLookMs : -1);
    uint64_t count = 0;
    if (read(begun_.get(), &count, sizeof count) == sizeof count) draining = true;
    signalfd_siginfo info{};
    while (read(signals_.get(), &info, sizeof info) == sizeof info) {
      const bool interrupt = info.ssi_signo == SIGINT;
      if (draining && interrupt) {
        log_warn("ending at once on SIGINT");
        return;
      }
      if (draining) continue;
      draining = true;
      begin_drain(interrupt ? "SIGINT" : "SIGTERM");
    }
  }
}

}  // namespace culvert
