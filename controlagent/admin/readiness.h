// /healthz/ready (reference 21.2): what the node still waits for, by name. Beyond ztunnel's tasks: the data plane, and
// a worker of it that has been silent for 2 s.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "admin/http_server.h"
#include "southbound/sight.h"

namespace culvert::admin {

inline constexpr southbound::Millis kWorkerSilenceMax{2000};

// Sorted. `tasks` are the agent's own that are not done ("state manager", "workload proxy manager"); `status` is the
// data plane's, none when it is not connected.
std::vector<std::string> pending_tasks(std::set<std::string> tasks,
                                       const std::optional<southbound::Seen<southbound::DataPlaneStatus>>& status);

HttpReply readiness_reply(const std::vector<std::string>& pending);

}  // namespace culvert::admin
