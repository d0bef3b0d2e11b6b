#include "southbound/connection.h"

#include "base/random.h"
#include "control/api/common.grpc.pb.h"
#include "control/api/contract.h"
#include "control/api/events.grpc.pb.h"

namespace culvert::southbound {
namespace {

// A session that ends sooner than this after its greeting counts as a failure: the next try waits longer.
constexpr Duration kShortSession = 1s;

std::shared_ptr<grpc::Channel> make_channel(const std::string& socket) {
  grpc::ChannelArguments arguments;
  // gRPC would share one connection, and its own back-off of up to two minutes, between all channels to a socket.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(static_cast<int>(api::kMessageBytesMax));
  arguments.SetMaxSendMessageSize(static_cast<int>(api::kMessageBytesMax));
  return grpc::CreateCustomChannel("unix:" + socket, grpc::InsecureChannelCredentials(), arguments);
}

// gRPC's sentence about a socket that cannot be reached ends with the path and the system's own words, which are
// enough.
std::string reason_of(const grpc::Status& status, const std::string& socket) {
  const std::string text = status.error_message();
  const size_t at = text.rfind(socket + ": ");
  return at == std::string::npos ? text : text.substr(at + socket.size() + 2);
}

}  // namespace

Connection::Connection(const Options& options, OnSession on_session, OnEvent on_event, log::Log& log)
    : options_(options), on_session_(std::move(on_session)), on_event_(std::move(on_event)), log_(log) {}

void Connection::start() {
  thread_ = std::thread([this] { run(); });
}

void Connection::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stopped_.notify_all();
  calls_.cancel();
  if (thread_.joinable()) thread_.join();
}

void Connection::run() {
  Random random(kernel_seed());
  BackOff back_off(options_.retry_max);
  while (!calls_.cancelled()) {
    if (const SessionPtr session = greet()) {
      const Instant began = monotonic_now();
      on_session_(session);
      watch(*session);
      on_session_(nullptr);
      if (monotonic_now() - began >= kShortSession) back_off.reset();
    }
    // 80 % to 120 %: several nodes' agents, restarted together, do not stay in step.
    const auto span = back_off.next();
    wait(span * 4 / 5 + span / 1000 * static_cast<int64_t>(random.below(401)));
  }
}

void Connection::failed(const std::string& sentence) {
  if (calls_.cancelled() || sentence == last_failure_) return;
  last_failure_ = sentence;
  log_.warn(sentence);
}

SessionPtr Connection::greet() {
  auto session = std::make_shared<Session>();
  session->channel = make_channel(options_.control_socket);
  const auto stub = api::Contract::NewStub(session->channel);
  api::HelloRequest request;
  request.set_contract_min(api::kContractMin);
  request.set_contract_max(api::kContractMax);
  request.set_client("culvert-agent");
  request.set_build(options_.build);
  api::HelloReply reply;
  const grpc::Status status =
      calls_.run(*session, [&](grpc::ClientContext& context) { return stub->Hello(&context, request, &reply); });
  const std::string where = "data plane at " + options_.control_socket;
  if (!status.ok()) {
    failed(where + " does not answer, trying again: " + reason_of(status, options_.control_socket));
    return nullptr;
  }
  if (reply.contract() < api::kContractMin || reply.contract() > api::kContractMax) {
    failed(where + " speaks contract " + std::to_string(reply.contract_min()) + " to " +
           std::to_string(reply.contract_max()) + ", this agent " + std::to_string(api::kContractMin) + " to " +
           std::to_string(api::kContractMax) + ": upgrade the older one");
    return nullptr;
  }
  last_failure_.clear();
  session->contract = reply.contract();
  session->instance = reply.instance();
  session->number = ++sessions_;
  log_.info("connected to the " + where + ": version " + reply.build() + ", contract " +
            std::to_string(reply.contract()) + ", instance " + reply.instance());
  if (reply.node() != options_.node) {
    log_.warn(where + " is node `" + reply.node() + "`, this agent's is `" + options_.node + "`");
  }
  return session;
}

void Connection::watch(const Session& session) {
  const auto stub = api::Events::NewStub(session.channel);
  grpc::ClientContext context;
  state_contract(context, session);
  if (!calls_.begin(context)) return;
  const auto reader = stub->Watch(&context, api::WatchRequest());
  api::Event event;
  while (reader->Read(&event)) on_event_(event);
  const grpc::Status status = reader->Finish();
  calls_.end();
  const std::string why = status.ok() ? "it closed the connection" : status.error_message();
  failed("lost the data plane at " + options_.control_socket + ", it keeps what it was told: " + why);
}

void Connection::wait(Duration span) {
  std::unique_lock lock(mutex_);
  stopped_.wait_for(lock, span, [this] { return stopping_; });
}

}  // namespace culvert::southbound
