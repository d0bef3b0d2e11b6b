#include "ctl/client.h"

#include <fcntl.h>
#include <grpcpp/create_channel_posix.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "base/ip_address.h"
#include "base/unique_fd.h"
#include "control/api/attachments.grpc.pb.h"
#include "control/api/certificates.grpc.pb.h"
#include "control/api/common.grpc.pb.h"
#include "control/api/contract.h"
#include "control/api/status.grpc.pb.h"
#include "control/api/why.grpc.pb.h"

namespace culvert::ctl {

namespace {

// A connection of our own, because gRPC has no words for what can be wrong with one. Nobody who may talk to the data
// plane waits long for its first byte: gRPC's SETTINGS come at once, or the end of the connection.
Result<UniqueFd, std::string> connect_to(const std::string& path) {
  const std::string name_another = "name another one with --socket";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return Failure{"socket path `" + path + "`: 1 to 107 bytes are accepted"};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return Failure{std::string("cannot make a Unix socket: ") + std::strerror(errno)};
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    switch (errno) {
      case ENOENT:
        return Failure{"no data plane at " + path + ": start culvert-dataplane, or " + name_another};
      case ECONNREFUSED:
        return Failure{"nobody serves " + path + ": culvert-dataplane has ended; start it, or " + name_another};
      case EACCES:
        return Failure{"no permission for " + path + ": become root, or a user of control.allowed_uids"};
      default:
        return Failure{"cannot connect to " + path + ": " + std::strerror(errno)};
    }
  }
  const timeval patience{2, 0};
  ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  char byte;
  const ssize_t peeked = ::recv(socket.get(), &byte, 1, MSG_PEEK);
  if (peeked == 0 || (peeked < 0 && errno == ECONNRESET)) {
    return Failure{"the data plane at " + path + " does not talk to user " + std::to_string(::geteuid()) +
                   ": become one of control.allowed_uids in its culvert.yaml"};
  }
  ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
  return socket;
}

std::string text_of_address(const std::string& bytes) {
  const std::optional<IpAddress> address = IpAddress::from_bytes(bytes_of(bytes));
  return address ? address->to_string() : "";
}

std::string text_of_endpoint(const api::SocketAddress& in) {
  const std::optional<IpAddress> address = IpAddress::from_bytes(bytes_of(in.address()));
  return address ? Endpoint{*address, static_cast<uint16_t>(in.port())}.to_string() : "";
}

std::string text_of_mac(const std::string& bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    out += out.empty() ? "" : ":";
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

template <class Texts>
Value texts(const Texts& in) {
  Value out = Value::list();
  for (const std::string& text : in) out.items.push_back(Value::of(text));
  return out;
}

Value row_of(const api::Session& in) {
  Value out = Value::map();
  out.set("direction", in.direction());
  out.set("source", text_of_endpoint(in.source()));
  out.set("destination", text_of_endpoint(in.destination()));
  out.set("hbone_authority", in.hbone_authority());
  out.set("source_identity", in.source_identity());
  out.set("destination_identity", in.destination_identity());
  out.set("tunnel_peer", in.tunnel_peer());
  out.set("state", in.state());
  out.set("bytes_sent", in.bytes_sent());
  out.set("bytes_received", in.bytes_received());
  out.set("age_ms", in.age_ms());
  return out;
}

Value row_of(const api::Tunnel& in) {
  Value out = Value::map();
  out.set("role", in.role());
  out.set("local", text_of_endpoint(in.local()));
  out.set("remote", text_of_endpoint(in.remote()));
  out.set("local_identity", in.local_identity());
  out.set("peer_identity", in.peer_identity());
  out.set("state", in.state());
  out.set("streams", in.streams());
  out.set("streams_total", in.streams_total());
  out.set("cipher", in.cipher());
  out.set("group", in.group());
  out.set("aead", in.aead());
  out.set("records_sealed", in.records_sealed());
  out.set("records_opened", in.records_opened());
  out.set("bytes_sealed", in.bytes_sealed());
  out.set("bytes_opened", in.bytes_opened());
  out.set("age_ms", in.age_ms());
  return out;
}

Value row_of(const api::Port& in) {
  constexpr const char* kRoles[] = {"unknown", "pods", "uplink", "host"};
  Value out = Value::map();
  out.set("name", in.name());
  out.set("role", std::string(kRoles[in.role() >= 0 && in.role() <= 3 ? in.role() : 0]));
  out.set("attachment", in.attachment());
  out.set("driver", in.driver());
  out.set("link_up", in.link_up());
  out.set("mtu", in.mtu());
  out.set("queues", in.queues());
  out.set("mac", text_of_mac(in.mac()));
  out.set("receive_wakeup", in.receive_wakeup());
  out.set("offloads", texts(in.offloads()));
  out.set("rx_packets", in.rx_packets());
  out.set("rx_bytes", in.rx_bytes());
  out.set("rx_errors", in.rx_errors());
  out.set("rx_no_buffer", in.rx_no_buffer());
  out.set("tx_packets", in.tx_packets());
  out.set("tx_bytes", in.tx_bytes());
  out.set("tx_errors", in.tx_errors());
  out.set("tx_full", in.tx_full());
  return out;
}

Value row_of(const api::CounterRow& in, bool per_worker) {
  Value out = Value::map();
  out.set("name", in.name());
  if (!in.room().empty()) out.set("room", in.room());
  out.set("value", in.value());
  out.set("unit", in.unit());
  if (per_worker) {
    Value by_worker = Value::list();
    for (const uint64_t value : in.by_worker()) by_worker.items.push_back(Value::of(value));
    out.set("by_worker", std::move(by_worker));
  }
  out.set("text", in.text());
  return out;
}

Value certificates_of(const api::CertificateStates& in) {
  constexpr const char* kStates[] = {"unknown", "needed", "valid", "expired", "requested"};
  Value out = Value::list();
  for (const api::CertificateState& state : in.states()) {
    Value row = Value::map();
    row.set("identity", state.identity());
    row.set("state", std::string(kStates[state.state() >= 0 && state.state() <= 4 ? state.state() : 0]));
    row.set("attached", state.attached());
    row.set("csr_pending", state.csr_pending());
    row.set("not_before_ms", int64_t{state.not_before_ms()});
    row.set("not_after_ms", int64_t{state.not_after_ms()});
    row.set("serial", state.serial());
    out.items.push_back(std::move(row));
  }
  return out;
}

Value attachments_of(const api::ListAttachmentsReply& in) {
  Value out = Value::list();
  for (const api::AttachmentState& state : in.states()) {
    const api::Attachment& attachment = state.attachment();
    Value row = Value::map();
    row.set("id", attachment.id());
    row.set("workload", attachment.workload());
    row.set("interface", attachment.interface());
    Value addresses = Value::list(), gateways = Value::list();
    for (const std::string& address : attachment.addresses()) {
      addresses.items.push_back(Value::of(text_of_address(address)));
    }
    for (const std::string& gateway : attachment.gateways()) {
      gateways.items.push_back(Value::of(text_of_address(gateway)));
    }
    row.set("addresses", std::move(addresses));
    row.set("gateways", std::move(gateways));
    row.set("mtu", attachment.mtu());
    row.set("up", state.up());
    row.set("error", state.error());
    out.items.push_back(std::move(row));
  }
  return out;
}

Value status_of(const api::StatusReply& in) {
  Value out = Value::map();
  out.set("node", in.node());
  out.set("build", in.build());
  out.set("instance", in.instance());
  out.set("contract", in.contract());
  out.set("uptime_ms", in.uptime_ms());
  out.set("agent_connected", in.agent_connected());
  out.set("mesh_version", in.mesh_version());
  out.set("snapshot_version", in.snapshot_version());
  out.set("workloads", in.workloads());
  out.set("services", in.services());
  out.set("policies", in.policies());
  out.set("connections", in.connections());
  out.set("sessions", in.sessions());
  out.set("tunnels", in.tunnels());
  Value workers = Value::list();
  for (int i = 0; i < in.workers_size(); ++i) {
    Value worker = Value::map();
    worker.set("index", static_cast<uint64_t>(i));
    worker.set("silent_ms", in.workers(i).silent_ms());
    worker.set("poll", in.workers(i).poll());
    workers.items.push_back(std::move(worker));
  }
  out.set("workers", std::move(workers));
  out.set("strangers_refused", in.strangers_refused());
  out.set("log_lines_lost", in.log_lines_lost());
  out.set("descriptors_wanted", texts(in.descriptors_wanted()));
  return out;
}

}  // namespace

struct Client::Impl {
  // A call's bound and the agreed version.
  std::unique_ptr<grpc::ClientContext> call() const {
    auto out = std::make_unique<grpc::ClientContext>();
    out->set_deadline(std::chrono::system_clock::now() + patience);
    if (contract != 0) out->AddMetadata(api::kContractMetadata, std::to_string(contract));
    return out;
  }
  std::string sentence(const grpc::Status& status) const {
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
      return "the data plane at " + socket + " did not answer within " + std::to_string(patience.count()) + " s";
    }
    if (status.error_code() == grpc::StatusCode::UNAVAILABLE) return "the data plane at " + socket + " went away";
    return status.error_message().empty() ? "the data plane refused without a reason" : status.error_message();
  }

  template <class Request, class Reply, class Method>
  Result<Reply, std::string> ask(const Request& request, Method&& method) const {
    Reply reply;
    const auto context = call();
    const grpc::Status status = method(context.get(), request, &reply);
    if (!status.ok()) return Failure{sentence(status)};
    return reply;
  }

  template <class Message, class Reader>
  Result<Value, std::string> read_all(Reader&& reader) const {
    Value out = Value::list();
    Message message;
    while (reader->Read(&message)) {
      for (const auto& row : message.rows()) out.items.push_back(row_of(row));
    }
    const grpc::Status status = reader->Finish();
    if (!status.ok()) return Failure{sentence(status)};
    return out;
  }

  std::string socket;
  std::chrono::seconds patience{};
  uint32_t contract = 0;
  std::unique_ptr<api::Sight::Stub> sight;
  std::unique_ptr<api::Certificates::Stub> certificates;
  std::unique_ptr<api::AttachmentControl::Stub> attachments;
  std::unique_ptr<api::Why::Stub> why;
};

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Client::~Client() = default;

Result<std::unique_ptr<Client>, std::string> Client::connect(const std::string& socket, std::chrono::seconds patience) {
  Result<UniqueFd, std::string> connected = connect_to(socket);
  if (!connected) return Failure{connected.error()};
  auto impl = std::make_unique<Impl>();
  impl->socket = socket;
  impl->patience = patience;
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(api::kMessageBytesMax));
  const auto channel = grpc::CreateCustomInsecureChannelFromFd("culvert", connected->release(), arguments);
  api::HelloRequest hello;
  hello.set_contract_min(api::kContractMin);
  hello.set_contract_max(api::kContractMax);
  hello.set_client("culvertctl");
  hello.set_build(CULVERT_VERSION);
  const auto contract = api::Contract::NewStub(channel);
  const auto reply = impl->ask<api::HelloRequest, api::HelloReply>(
      hello, [&](auto* context, const auto& request, auto* out) { return contract->Hello(context, request, out); });
  if (!reply) return Failure{reply.error()};
  impl->contract = reply->contract();
  impl->sight = api::Sight::NewStub(channel);
  impl->certificates = api::Certificates::NewStub(channel);
  impl->attachments = api::AttachmentControl::NewStub(channel);
  impl->why = api::Why::NewStub(channel);
  return std::unique_ptr<Client>(new Client(std::move(impl)));
}

Result<Value, std::string> Client::status() {
  const auto status = impl_->ask<api::StatusRequest, api::StatusReply>(
      {}, [&](auto* context, const auto& request, auto* out) { return impl_->sight->Status(context, request, out); });
  if (!status) return Failure{status.error()};
  const auto certificates = impl_->ask<api::ListCertificatesRequest, api::CertificateStates>(
      {},
      [&](auto* context, const auto& request, auto* out) { return impl_->certificates->List(context, request, out); });
  if (!certificates) return Failure{certificates.error()};
  const auto attachments = impl_->ask<api::ListAttachmentsRequest, api::ListAttachmentsReply>(
      {},
      [&](auto* context, const auto& request, auto* out) { return impl_->attachments->List(context, request, out); });
  if (!attachments) return Failure{attachments.error()};
  Value out = status_of(*status);
  out.set("attachments", attachments_of(*attachments));
  out.set("certificates", certificates_of(*certificates));
  return out;
}

Result<Value, std::string> Client::sessions() {
  const auto context = impl_->call();
  return impl_->read_all<api::SessionRows>(impl_->sight->Sessions(context.get(), {}));
}

Result<Value, std::string> Client::tunnels() {
  const auto context = impl_->call();
  return impl_->read_all<api::TunnelRows>(impl_->sight->Tunnels(context.get(), {}));
}

Result<Value, std::string> Client::ports() {
  const auto reply = impl_->ask<api::PortsRequest, api::PortRows>(
      {}, [&](auto* context, const auto& request, auto* out) { return impl_->sight->Ports(context, request, out); });
  if (!reply) return Failure{reply.error()};
  Value out = Value::list();
  for (const api::Port& row : reply->rows()) out.items.push_back(row_of(row));
  return out;
}

namespace {

Value counter_rows(const api::CounterRows& in, bool per_worker) {
  Value out = Value::list();
  for (const api::CounterRow& row : in.rows()) out.items.push_back(row_of(row, per_worker));
  return out;
}

api::CountersRequest counters_request(bool per_worker) {
  api::CountersRequest out;
  out.set_per_worker(per_worker);
  return out;
}

}  // namespace

Result<Value, std::string> Client::counters(bool per_worker) {
  const auto reply = impl_->ask<api::CountersRequest, api::CounterRows>(
      counters_request(per_worker),
      [&](auto* context, const auto& request, auto* out) { return impl_->sight->Counters(context, request, out); });
  if (!reply) return Failure{reply.error()};
  return counter_rows(*reply, per_worker);
}

Result<Value, std::string> Client::drops(bool per_worker) {
  const auto reply = impl_->ask<api::CountersRequest, api::CounterRows>(
      counters_request(per_worker),
      [&](auto* context, const auto& request, auto* out) { return impl_->sight->Drops(context, request, out); });
  if (!reply) return Failure{reply.error()};
  return counter_rows(*reply, per_worker);
}

namespace {

why::Outcome outcome_of(api::WhyOutcome in) {
  switch (in) {
    case api::WHY_ALLOWED:
      return why::Outcome::kAllowed;
    case api::WHY_DENIED:
      return why::Outcome::kDenied;
    case api::WHY_DEPENDS:
      return why::Outcome::kDepends;
    default:
      return why::Outcome::kRefused;
  }
}

std::vector<why::Step> steps_of(const google::protobuf::RepeatedPtrField<api::WhyStep>& in) {
  std::vector<why::Step> out;
  for (const api::WhyStep& step : in) {
    // A step of a newer data plane is shown under the name of the source, rather than not at all.
    out.push_back({why::step_kind_of(step.step()).value_or(why::StepKind::kSource),
                   step.passes(),
                   step.title(),
                   {step.lines().begin(), step.lines().end()}});
  }
  return out;
}

}  // namespace

Result<why::Explanation, std::string> Client::why(const std::string& from, const std::string& to) {
  api::WhyRequest question;
  question.set_from(from);
  question.set_to(to);
  const auto reply = impl_->ask<api::WhyRequest, api::WhyReply>(
      question,
      [&](auto* context, const auto& request, auto* out) { return impl_->why->Explain(context, request, out); });
  if (!reply) return Failure{reply.error()};
  why::Explanation out;
  out.from = reply->from();
  out.to = reply->to();
  out.steps = steps_of(reply->steps());
  for (const api::WhyPath& path : reply->paths()) {
    out.paths.push_back({{path.endpoints().begin(), path.endpoints().end()},
                         steps_of(path.steps()),
                         outcome_of(path.outcome()),
                         path.drop_reason(),
                         path.log_at_source(),
                         path.log_at_destination()});
  }
  out.paths_left_out = reply->paths_left_out();
  out.outcome = outcome_of(reply->outcome());
  out.summary = reply->summary();
  return out;
}

}  // namespace culvert::ctl
