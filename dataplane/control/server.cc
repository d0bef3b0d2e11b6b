#include "control/server.h"

#include <google/protobuf/stubs/logging.h>
#include <grpcpp/impl/codegen/service_type.h>
#include <grpcpp/resource_quota.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <grpcpp/server_posix.h>
#include <sys/socket.h>

#include <mutex>

#include "control/api/contract.h"
#include "control/descriptor_door.h"
#include "control/door.h"
#include "control/log_writer.h"
#include "control/services.h"

namespace culvert::control {

namespace {

// Access-log lines appear at most this much later; the controller's own checks every kTicksPerCheck of them.
constexpr Duration kTick = 100ms;
constexpr int kTicksPerCheck = 2;
constexpr size_t kLogLinesPerTurn = 4096;
constexpr auto kShutdownPatience = std::chrono::milliseconds(200);
// Of gRPC's own buffers, all connections together.
constexpr size_t kGrpcBytesMax = 64u << 20;

}  // namespace

struct Server::Impl {
  Impl(ServerOptions given, NodeFace& face, worker::Clock& clock)
      : options(std::move(given)),
        node(face),
        log(options.log_fd >= 0 ? std::make_unique<LogWriter>(options.log_fd, options.log_queued_bytes_max) : nullptr),
        controller(controller_options(), face, clock),
        thread([this] { tick(); }, kTick),
        desk(controller, thread) {
    desk.node = options.node;
    desk.network = options.network;
    desk.build = options.build;
    desk.contract_min = options.contract_min ? options.contract_min : api::kContractMin;
    desk.contract_max = options.contract_max ? options.contract_max : api::kContractMax;
    desk.notice = [this](const std::string& line) { notice(line); };
    desk.log_lines_lost = [this] { return node.log_lines_lost() + (log ? log->lost() : 0); };
    desk.log = options.log ? options.log : &own_log;
  }

  ControllerOptions controller_options() {
    ControllerOptions out;
    out.instance = make_instance();
    out.node = options.node;
    out.drain_deadline = options.drain_deadline;
    out.notice = [this](const std::string& line) { notice(line); };
    out.drain_begun = options.drain_begun;
    return out;
  }

  void notice(const std::string& line) {
    if (!options.notice) return;
    const std::lock_guard lock(notice_mutex);
    options.notice(line);
  }

  // On the control thread.
  void tick() {
    write_log();
    if (++ticks % kTicksPerCheck == 0) controller.tick();
  }

  void write_log() {
    if (!log) return;
    while (true) {
      lines.clear();
      const size_t taken = node.take_log_lines(lines, kLogLinesPerTurn);
      log->put(lines);
      if (taken < kLogLinesPerTurn) return;
    }
  }

  void start_grpc() {
    services.push_back(make_contract_service(desk));
    services.push_back(make_mesh_service(desk));
    services.push_back(make_attachment_service(desk));
    services.push_back(make_certificate_service(desk));
    services.push_back(make_event_service(desk));
    services.push_back(make_lifecycle_service(desk));
    services.push_back(make_sight_service(desk));
    services.push_back(make_why_service(desk));
    services.push_back(make_log_service(desk));
    grpc::ResourceQuota quota("culvert-control");
    quota.SetMaxThreads(kServerThreadsMax);
    quota.Resize(kGrpcBytesMax);
    grpc::ServerBuilder builder;
    builder.SetResourceQuota(quota);
    builder.SetMaxReceiveMessageSize(static_cast<int>(api::kMessageBytesMax));
    builder.SetMaxSendMessageSize(static_cast<int>(api::kMessageBytesMax));
    builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
    builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MIN_POLLERS, 1);
    builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 2);
    for (const auto& service : services) builder.RegisterService(service.get());
    server = builder.BuildAndStart();
  }

  ServerOptions options;
  NodeFace& node;
  std::mutex notice_mutex;
  LogSettings own_log;
  std::unique_ptr<LogWriter> log;  // null: nobody reads
  std::vector<std::string> lines;
  uint64_t ticks = 0;
  Controller controller;
  ControlThread thread;
  Desk desk;
  std::vector<std::unique_ptr<grpc::Service>> services;
  std::unique_ptr<grpc::Server> server;
  std::optional<Door> door;
};

Result<std::unique_ptr<Server>, std::string> Server::start(ServerOptions options, NodeFace& node,
                                                           worker::Clock& clock) {
  auto contract = UnixListener::open(options.socket, SOCK_STREAM, options.allowed_uids);
  if (!contract) return Failure{contract.error()};
  auto descriptors = UnixListener::open(options.descriptors, SOCK_SEQPACKET, options.allowed_uids);
  if (!descriptors) return Failure{descriptors.error()};
  // Its lines about malformed messages would reach standard error unbidden; the call's status says the same.
  google::protobuf::SetLogHandler(nullptr);
  auto impl = std::make_unique<Impl>(std::move(options), node, clock);
  Impl* const self = impl.get();
  impl->start_grpc();
  if (!impl->server) return Failure{std::string("gRPC does not start: it has no memory or no descriptors")};
  DoorCalls calls;
  calls.contract = [self](UniqueFd connection) {
    grpc::AddInsecureChannelFromFd(self->server.get(), connection.release());
  };
  calls.descriptors = [self](Result<api::DescriptorPacket, std::string> received) {
    return answer_descriptor_packet(self->desk, std::move(received));
  };
  calls.stranger = [self](uint32_t uid) {
    // The first is told, and every power of two after it: a stranger cannot fill the log.
    const uint64_t count = self->desk.strangers.fetch_add(1) + 1;
    if ((count & (count - 1)) != 0) return;
    self->notice("a connection of user " + std::to_string(uid) +
                 " was closed: control.allowed_uids does not name it (" + std::to_string(count) + " so far)");
  };
  impl->door.emplace(std::move(*contract), std::move(*descriptors), std::move(calls));
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Server::~Server() {
  impl_->door.reset();
  impl_->controller.board().close();
  impl_->server->Shutdown(std::chrono::system_clock::now() + kShutdownPatience);
  impl_->server->Wait();
  impl_->thread.stop();
  impl_->write_log();
}

void Server::drain(std::optional<Duration> deadline) {
  impl_->thread.call([&] {
    impl_->controller.drain(deadline);
    return true;
  });
}

const std::string& Server::instance() const { return impl_->controller.instance(); }
uint64_t Server::strangers() const { return impl_->desk.strangers.load(); }
uint64_t Server::log_lines_lost() const { return impl_->desk.log_lines_lost(); }

}  // namespace culvert::control
