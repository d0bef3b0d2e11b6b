// The client's end of the descriptor socket (D19): one question, one answer at a time, each within kCallPatience.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "control/api/attachments.pb.h"

namespace culvert::southbound {

class DescriptorClient {
 public:
  explicit DescriptorClient(std::string path) : path_(std::move(path)) {}

  // Connects again at the next call: another data plane answers now.
  void reset() { socket_.reset(); }

  // The queue stays the caller's; the data plane gets a copy.
  Result<void, std::string> give(const std::string& name, int queue);
  // A copy of the first queue the data plane holds under this name.
  Result<UniqueFd, std::string> take(const std::string& name);
  Result<void, std::string> release(const std::string& name);

 private:
  // The answer's descriptors come back; a refusal is the error.
  Result<std::vector<UniqueFd>, std::string> ask(api::DescriptorMessage::Kind kind, const std::string& name, int queue);

  const std::string path_;
  UniqueFd socket_;
};

}  // namespace culvert::southbound
