#include "admin/readiness.h"

namespace culvert::admin {

std::vector<std::string> pending_tasks(std::set<std::string> tasks,
                                       const std::optional<southbound::Seen<southbound::DataPlaneStatus>>& status) {
  // One that is connected and does not answer is as good as away.
  if (!status || !*status) {
    tasks.insert("data plane");
  } else {
    const auto& workers = (*status)->workers;
    for (size_t i = 0; i < workers.size(); ++i) {
      if (workers[i].silent < kWorkerSilenceMax) continue;
      tasks.insert("worker " + std::to_string(i) + " silent for " + std::to_string(workers[i].silent.count()) + " ms");
    }
  }
  return {tasks.begin(), tasks.end()};
}

HttpReply readiness_reply(const std::vector<std::string>& pending) {
  HttpReply reply;
  reply.body = "ready\n";
  if (pending.empty()) return reply;
  reply.status = 500;
  reply.body = "not ready, pending: ";
  for (size_t i = 0; i < pending.size(); ++i) reply.body += (i == 0 ? "" : ", ") + pending[i];
  reply.body += '\n';
  return reply;
}

}  // namespace culvert::admin
