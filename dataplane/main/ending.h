// How the process ends (reference 21.3): a signal or the contract begins the drain, the node says when nothing is left.
#pragma once

#include <functional>
#include <string_view>

#include "base/unique_fd.h"

namespace culvert {

class Ending {
 public:
  // Takes SIGTERM and SIGINT away from the calling thread and from all that it starts afterwards.
  Ending();

  // Any thread: a drain has begun.
  void drain_begun();
  // Returns when the process is to end: `drained` said so, or SIGINT came while it was waited for. `begin_drain` is
  // called at the first signal.
  void wait(const std::function<void(std::string_view signal)>& begin_drain, const std::function<bool()>& drained);

 private:
  UniqueFd signals_, begun_;
};

}  // namespace culvert
