// The queue of a persistent TAP device: opening it in the namespace of the calling thread, and what a queue knows about
// its device later, from wherever it is asked (D19).
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace culvert::node {

// Makes the device, or attaches to the one of that name that has no other queue open. With the virtio-net header, not
// blocking, persistent: the device stays when every queue is closed. An interface of that name that is no TAP, or whose
// queue somebody else holds, is an error of one sentence and stays as it is.
Result<UniqueFd, std::string> open_tap_queue(const std::string& name);

// The device's present name; none when the device is gone (removed by somebody, or with its namespace).
std::optional<std::string> device_of(int queue);
// The namespace that the device is in now.
Result<UniqueFd, std::string> namespace_of_device(int queue);

// Another descriptor of the same queue.
Result<UniqueFd, std::string> copy_of(int queue);

}  // namespace culvert::node
