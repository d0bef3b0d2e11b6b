// Descriptors that the agent handed over, by name: those of attachments and ports in use, and those that wait for
// theirs (D19). The table keeps a copy of each for as long as it is in use, so that an agent that restarted can have it
// back.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace culvert::control {

// Whether the descriptor is an attached TAP queue with the virtio-net header, which is what the tap driver reads. The
// error is one sentence without a subject: "is no TAP queue".
Result<void, std::string> check_tap_queue(int fd);

class DescriptorTable {
 public:
  // More names than a node has ports and pods.
  static constexpr size_t kNamesMax = 4096;

  // Takes 1 to kDescriptorsPerMessageMax queues under a name; earlier ones that nobody uses are closed. Refused, in one
  // sentence: something that is no TAP queue, a name whose descriptors are in use, more than kNamesMax names.
  Result<void, std::string> give(const std::string& name, std::vector<UniqueFd> queues);
  // Copies of a name's queues. The error is one sentence.
  Result<std::vector<UniqueFd>, std::string> copies(std::string_view name) const;
  // Marks a name's queues as used by a port, so that they are neither replaced nor closed.
  void set_in_use(std::string_view name, bool in_use);
  bool in_use(std::string_view name) const;
  bool holds(std::string_view name) const { return entries_.contains(name); }
  bool close(std::string_view name);
  // Names in order.
  std::vector<std::string> names() const;
  // True when the device behind a name's queues is gone, as when its namespace was removed.
  bool is_gone(std::string_view name) const;

 private:
  struct Entry {
    std::vector<UniqueFd> queues;
    bool in_use = false;
  };
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace culvert::control
