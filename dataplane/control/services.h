// The gRPC services of the contract. Each converts at the door and runs its calls on the control thread; none keeps
// state of the node. One .cc per service, because generated headers are slow to compile.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "control/control_thread.h"
#include "control/controller.h"
#include "telemetry/log_settings.h"

namespace grpc {
class Service;
class ServerContext;
}  // namespace grpc

namespace culvert::control {

// What the services share.
struct Desk {
  Desk(Controller& c, ControlThread& t) : controller(c), thread(t) {}

  Controller& controller;  // on the control thread only, but for board() and instance()
  ControlThread& thread;
  std::string node, network, build;
  uint32_t contract_min = 0, contract_max = 0;
  std::function<void(std::string)> notice;  // one line for the operator's log; any thread
  std::atomic<uint64_t> strangers{0};
  std::function<uint64_t()> log_lines_lost;
  LogSettings* log = nullptr;  // any thread

  // The mesh stream that is open, so that a newer one can end it.
  std::mutex stream_mutex;
  grpc::ServerContext* stream = nullptr;
  std::atomic<uint32_t> watchers{0};
};

// Threads of the gRPC server, and of those how many may watch events: the rest answers questions.
inline constexpr int kServerThreadsMax = 24;
inline constexpr uint32_t kWatchersMax = 8;
// Rows per message of a streamed list: some 100 KiB.
inline constexpr size_t kRowsPerMessage = 256;

std::unique_ptr<grpc::Service> make_contract_service(Desk& desk);
std::unique_ptr<grpc::Service> make_mesh_service(Desk& desk);
std::unique_ptr<grpc::Service> make_attachment_service(Desk& desk);
std::unique_ptr<grpc::Service> make_certificate_service(Desk& desk);
std::unique_ptr<grpc::Service> make_event_service(Desk& desk);
std::unique_ptr<grpc::Service> make_lifecycle_service(Desk& desk);
std::unique_ptr<grpc::Service> make_sight_service(Desk& desk);
std::unique_ptr<grpc::Service> make_why_service(Desk& desk);
std::unique_ptr<grpc::Service> make_log_service(Desk& desk);

}  // namespace culvert::control
