#include "admin/logging.h"

namespace culvert::admin {
namespace {

constexpr char kUsage[] =
    "usage: POST /logging                        shows the levels in force\n"
    "       POST /logging?level=LEVEL            of everything that has no level of its own\n"
    "       POST /logging?level=TARGET=LEVEL     of one target; TARGET:LEVEL is the same\n"
    "       POST /logging?level=debug,access=off several, with commas between\n"
    "       POST /logging?reset                  back to the levels of the start; with level=, that is applied then\n"
    "LEVEL is off, error, warn, info, debug or trace. Targets: access (the access log), culvert (the data plane about\n"
    "itself), and the agent's parts: agent, admin, ca, mesh, southbound and xds.\n";

}  // namespace

HttpReply Logging::post(const HttpRequest& request) {
  const std::string* level = request.query("level");
  const bool reset = request.query("reset") != nullptr;
  const std::lock_guard lock(mutex_);
  log::Filter filter = reset ? start_ : log_.filter();
  if (level != nullptr) {
    auto changed = filter.with(*level);
    if (!changed) {
      HttpReply reply;
      reply.status = 400;
      reply.body = "Invalid level provided: " + changed.error() + "\n" + kUsage;
      return reply;
    }
    filter = std::move(*changed);
  }
  if (level != nullptr || reset) {
    log_.set_filter(filter);
    if (changed_) changed_(filter);
  }
  HttpReply reply;
  reply.body = "current log level is " + filter.to_string() + "\n";
  return reply;
}

}  // namespace culvert::admin
