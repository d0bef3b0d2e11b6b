#include "tests/testkit/fake_istiod.h"

#include <grpcpp/generic/async_generic_service.h>
#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "base/ip_address.h"
#include "tests/testkit/fake_ads.h"
#include "tests/testkit/fake_ca.h"
#include "tests/testkit/mesh_messages.h"

namespace culvert::testkit {

namespace {

using Clock = std::chrono::steady_clock;
using Response = envoy::service::discovery::v3::DeltaDiscoveryResponse;

constexpr char kAdsMethod[] = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
constexpr char kCaMethod[] = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
constexpr size_t kPushTypesMax = 1000;  // of how many pushes the types are remembered

UnixTime wall_clock() { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }

std::string bytes_of(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return {};
  std::string out;
  for (const grpc::Slice& slice : slices) out.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  return out;
}

grpc::ByteBuffer buffer_of(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return grpc::ByteBuffer(&slice, 1);
}

grpc::Status status_of(int code, const std::string& text) { return {static_cast<grpc::StatusCode>(code), text}; }

std::map<std::string, std::string> headers_of(const grpc::ServerContextBase& context) {
  std::map<std::string, std::string> out;
  for (const auto& [key, value] : context.client_metadata()) {
    out[std::string(key.data(), key.size())] = std::string(value.data(), value.size());
  }
  return out;
}

// Names of the certificate: the given ones, and the address it listens on.
void put_names(const std::vector<std::string>& names, const std::string& address, LeafOptions& leaf) {
  leaf.ip_sans = {"127.0.0.1", "::1"};
  for (const std::string& name : names) (IpAddress::parse(name) ? leaf.ip_sans : leaf.dns_sans).push_back(name);
  const auto endpoint = Endpoint::parse(address);
  if (endpoint && !endpoint->address.is_unspecified() && !endpoint->address.is_loopback()) {
    leaf.ip_sans.push_back(endpoint->address.to_string());
  }
}

bool write_by_rename(const std::string& path, const std::string& content) {
  {
    std::ofstream out(path + ".new", std::ios::trunc);
    out << content;
    if (!out.flush()) return false;
  }
  std::error_code error;
  std::filesystem::rename(path + ".new", path, error);
  return !error;
}

}  // namespace

const char* name_of(FakeIstiodEvent::Kind kind) {
  switch (kind) {
    case FakeIstiodEvent::Kind::kStream:
      return "stream";
    case FakeIstiodEvent::Kind::kRefused:
      return "refused";
    case FakeIstiodEvent::Kind::kRequest:
      return "request";
    case FakeIstiodEvent::Kind::kAck:
      return "ack";
    case FakeIstiodEvent::Kind::kNack:
      return "nack";
    case FakeIstiodEvent::Kind::kStale:
      return "stale";
    case FakeIstiodEvent::Kind::kPush:
      return "push";
    case FakeIstiodEvent::Kind::kStreamEnd:
      return "stream-end";
    case FakeIstiodEvent::Kind::kCsr:
      return "csr";
    case FakeIstiodEvent::Kind::kCertificate:
      return "certificate";
    case FakeIstiodEvent::Kind::kNote:
      return "note";
  }
  return "";
}

// Everything that is shared, under one lock; the server is swapped under another, since its end waits for callbacks
// that take the first.
struct FakeIstiod::Core {
  class Service;
  class Stream;
  class CaCall;
  class Refused;

  explicit Core(Options given);
  ~Core();

  grpc::ServerGenericBidiReactor* react(grpc::GenericCallbackServerContext* context);

  Result<void, std::string> listen();
  void stop_listening();
  void restart();

  // With the lock held from here on.
  const Token* token_of(const std::map<std::string, std::string>& headers, std::string& why);
  void tell(FakeIstiodEvent event);
  void tell_all(std::vector<FakeIstiodEvent> told) {
    for (FakeIstiodEvent& event : told) tell(std::move(event));
  }
  void note(const std::string& text);
  // Runs `call` in the pump's thread, with the lock held, unless the fake ends before.
  void after(std::chrono::milliseconds span, std::function<void()> call);
  bool put(XdsResource resource);
  bool drop(const XdsName& name);
  uint64_t count_push(std::set<std::string> types);
  void send_all();

  void pump();
  template <class Holds>
  bool wait(std::chrono::milliseconds patience, Holds holds) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, patience, [&] { return holds(); });
  }

  const Options options;
  std::mutex server_mutex;
  std::unique_ptr<Service> service;  // of one server only, as gRPC wants it
  std::unique_ptr<grpc::Server> server;

  mutable std::mutex mutex;
  std::condition_variable changed;  // something was told, or a stream came or went
  std::string bound;                // the address, with its real port
  FakeCa ca;
  std::vector<Token> tokens;
  bool rejecting = false;
  int refuse_code = 0;
  std::string refuse_text;
  std::chrono::milliseconds delay{};
  AdsTable table;
  uint64_t pushes = 0;
  std::map<uint64_t, std::set<std::string>> push_types;
  uint64_t next_number = 1;
  std::map<uint64_t, Stream*> streams;
  std::map<uint64_t, CaCall*> ca_calls;
  size_t ca_calls_max = 0, issued = 0;
  std::string ca_bytes;

  std::deque<FakeIstiodEvent> events;
  std::map<FakeIstiodEvent::Kind, size_t> counts;
  std::deque<FakeIstiodEvent> undelivered;
  std::multimap<Clock::time_point, std::function<void()>> timers;
  std::condition_variable pump_wakes;
  bool ending = false;
  std::thread pump_thread;
};

class FakeIstiod::Core::Service final : public grpc::CallbackGenericService {
 public:
  explicit Service(Core& core) : core_(core) {}
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    return core_.react(context);
  }

 private:
  Core& core_;
};

// One node's xDS stream. One message is under way in each direction at most.
class FakeIstiod::Core::Stream final : public grpc::ServerGenericBidiReactor {
 public:
  Stream(Core& core, grpc::GenericCallbackServerContext* context)
      : core_(core), number_(core.next_number++), headers_(headers_of(*context)) {
    core_.streams[number_] = this;
    FakeIstiodEvent event;
    event.kind = FakeIstiodEvent::Kind::kStream;
    event.stream = number_;
    event.text = context->host() + " from " + context->peer();
    event.headers = headers_;
    core_.tell(std::move(event));
    std::string why;
    const Token* token = core_.token_of(headers_, why);
    if (token == nullptr) {
      refuse(grpc::StatusCode::UNAUTHENTICATED, why);
    } else if (core_.refuse_code != 0) {
      refuse(core_.refuse_code, core_.refuse_text);
    } else {
      ads_ = std::make_unique<AdsStream>(number_, token->name_space);
      StartRead(&incoming_);
    }
  }

  void OnReadDone(bool ok) override {
    const std::lock_guard lock(core_.mutex);
    if (!ok) {
      end(0, "", "the node");
      return;
    }
    if (ended_ || ending_) return;
    envoy::service::discovery::v3::DeltaDiscoveryRequest request;
    if (!request.ParseFromString(bytes_of(incoming_))) {
      refuse(grpc::StatusCode::INTERNAL, "the request does not parse");
      return;
    }
    std::vector<FakeIstiodEvent> events;
    const auto refusal = ads_->on_request(request, core_.table, events);
    core_.tell_all(std::move(events));
    if (refusal) {
      refuse(refusal->grpc_code, refusal->text);
      return;
    }
    StartRead(&incoming_);
    send();
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard lock(core_.mutex);
    writing_ = false;
    if (ending_) {
      finish(*ending_);
    } else if (ok) {
      send();
    }
    core_.changed.notify_all();
  }

  void OnCancel() override {
    const std::lock_guard lock(core_.mutex);
    end(grpc::StatusCode::CANCELLED, "", "the node or its connection");
  }

  void OnDone() override {
    {
      const std::lock_guard lock(core_.mutex);
      core_.streams.erase(number_);
      core_.changed.notify_all();
    }
    delete this;
  }

  // The rest is called with the lock held.

  void send() {
    if (writing_ || ended_ || ending_ || !ads_) return;
    if (!ready()) return;
    std::string bytes;
    if (!raw_.empty()) {
      bytes = std::move(raw_.front());
      raw_.pop_front();
    } else {
      std::vector<FakeIstiodEvent> events;
      const auto response = ads_->next(core_.table, core_.pushes, events);
      core_.tell_all(std::move(events));
      if (!response) return;
      bytes = response->SerializeAsString();
    }
    outgoing_ = buffer_of(bytes);
    writing_ = true;
    StartWrite(&outgoing_);
  }

  void send_bytes(std::string bytes) {
    raw_.push_back(std::move(bytes));
    send();
  }

  void end(int code, const std::string& text, const char* who) {
    if (ended_ || ending_) return;
    FakeIstiodEvent event;
    event.kind = FakeIstiodEvent::Kind::kStreamEnd;
    event.stream = number_;
    event.node = ads_ ? ads_->node() : "";
    event.text = who;
    core_.tell(std::move(event));
    if (writing_) {
      ending_ = status_of(code, text);  // after the message that is under way
    } else {
      finish(status_of(code, text));
    }
  }

  bool watching() const { return ads_ && !ended_ && !ending_; }
  AdsStream& ads() { return *ads_; }

 private:
  void refuse(int code, const std::string& text) {
    FakeIstiodEvent event;
    event.kind = FakeIstiodEvent::Kind::kRefused;
    event.stream = number_;
    event.text = text;
    core_.tell(std::move(event));
    end(code, text, "a refusal");
  }

  // Holds each response back for the delay in force when it came about.
  bool ready() {
    if (raw_.empty() && !ads_->has_work()) return false;
    const auto now = Clock::now();
    if (!ready_at_) {
      if (core_.delay.count() == 0) return true;
      ready_at_ = now + core_.delay;
      core_.after(core_.delay, [&core = core_, number = number_] {
        if (const auto found = core.streams.find(number); found != core.streams.end()) found->second->send();
      });
    }
    if (now < *ready_at_) return false;
    ready_at_.reset();
    return true;
  }

  void finish(const grpc::Status& status) {
    if (std::exchange(ended_, true)) return;
    Finish(status);
  }

  Core& core_;
  const uint64_t number_;
  const std::map<std::string, std::string> headers_;
  std::unique_ptr<AdsStream> ads_;
  grpc::ByteBuffer incoming_, outgoing_;
  std::deque<std::string> raw_;
  std::optional<Clock::time_point> ready_at_;
  bool writing_ = false, ended_ = false;
  std::optional<grpc::Status> ending_;
};

class FakeIstiod::Core::CaCall final : public grpc::ServerGenericBidiReactor {
 public:
  CaCall(Core& core, grpc::GenericCallbackServerContext* context)
      : core_(core), number_(core.next_number++), headers_(headers_of(*context)) {
    core_.ca_calls[number_] = this;
    core_.ca_calls_max = std::max(core_.ca_calls_max, core_.ca_calls.size());
    StartRead(&incoming_);
  }

  void OnReadDone(bool ok) override {
    const std::lock_guard lock(core_.mutex);
    if (!ok) {
      finish({grpc::StatusCode::INTERNAL, "no request came"});
      return;
    }
    std::string why;
    const Token* token = core_.token_of(headers_, why);
    if (token == nullptr) {
      FakeIstiodEvent event;
      event.kind = FakeIstiodEvent::Kind::kRefused;
      event.text = why;
      event.headers = headers_;
      core_.tell(std::move(event));
      finish({grpc::StatusCode::UNAUTHENTICATED, why});
      return;
    }
    const std::string request = bytes_of(incoming_);
    answer_ = core_.ca.answer(request, *token, wall_clock());
    core_.ca_bytes.append(request + answer_.bytes, 0, kCertificateBytesMax - core_.ca_bytes.size());
    FakeIstiodEvent event;
    event.kind = FakeIstiodEvent::Kind::kCsr;
    event.identity = answer_.identity;
    event.text = answer_.csr;
    event.headers = headers_;
    core_.tell(std::move(event));
    if (answer_.behaviour.delay.count() == 0) {
      reply();
      return;
    }
    core_.after(answer_.behaviour.delay, [&core = core_, number = number_] {
      if (const auto found = core.ca_calls.find(number); found != core.ca_calls.end()) found->second->reply();
    });
  }

  void OnCancel() override {
    const std::lock_guard lock(core_.mutex);
    finish({grpc::StatusCode::CANCELLED, ""});
  }

  void OnDone() override {
    {
      const std::lock_guard lock(core_.mutex);
      core_.ca_calls.erase(number_);
      core_.changed.notify_all();
    }
    delete this;
  }

 private:
  void reply() {
    if (finished_) return;
    FakeIstiodEvent event;
    event.kind = FakeIstiodEvent::Kind::kCertificate;
    event.identity = answer_.identity;
    event.text = answer_.grpc_code == 0 ? answer_.serial : answer_.text;
    core_.tell(std::move(event));
    if (answer_.grpc_code != 0) {
      finish(status_of(answer_.grpc_code, answer_.text));
      return;
    }
    ++core_.issued;
    finished_ = true;
    outgoing_ = buffer_of(answer_.bytes);
    StartWriteAndFinish(&outgoing_, grpc::WriteOptions(), grpc::Status::OK);
  }

  void finish(const grpc::Status& status) {
    if (std::exchange(finished_, true)) return;
    Finish(status);
  }

  Core& core_;
  const uint64_t number_;
  const std::map<std::string, std::string> headers_;
  FakeCa::Answer answer_;
  grpc::ByteBuffer incoming_, outgoing_;
  bool finished_ = false;
};

class FakeIstiod::Core::Refused final : public grpc::ServerGenericBidiReactor {
 public:
  Refused() { Finish({grpc::StatusCode::UNIMPLEMENTED, "not a service of istiod"}); }
  void OnDone() override { delete this; }
};

FakeIstiod::Core::Core(Options given)
    : options(std::move(given)),
      ca(options.ca ? options.ca : FakeCa::make_root(options.rsa_root, "Fake root 1", wall_clock()),
         options.intermediate),
      tokens(options.tokens) {
  pump_thread = std::thread([this] { pump(); });
}

FakeIstiod::Core::~Core() {
  stop_listening();
  {
    const std::lock_guard lock(mutex);
    ending = true;
    timers.clear();
  }
  pump_wakes.notify_all();
  pump_thread.join();
}

grpc::ServerGenericBidiReactor* FakeIstiod::Core::react(grpc::GenericCallbackServerContext* context) {
  const std::lock_guard lock(mutex);
  if (context->method() == kAdsMethod) return new Stream(*this, context);
  if (context->method() == kCaMethod) return new CaCall(*this, context);
  return new Refused();
}

Result<void, std::string> FakeIstiod::Core::listen() {
  const std::lock_guard lock(server_mutex);
  if (server) return {};
  std::string address;
  TestLeaf own;
  {
    const std::lock_guard inner(mutex);
    address = bound.empty() ? options.address : bound;
    LeafOptions leaf;
    put_names(options.names, address, leaf);
    own = ca.server_certificate(leaf, wall_clock());
  }
  grpc::ServerBuilder builder;
  grpc::SslServerCredentialsOptions tls(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  tls.pem_key_cert_pairs.push_back({own.key_pem, own.chain_pem});
  int port = 0;
  builder.AddListeningPort(address, grpc::SslServerCredentials(tls), &port);
  service = std::make_unique<Service>(*this);
  builder.RegisterCallbackGenericService(service.get());
  builder.SetMaxReceiveMessageSize(-1);
  builder.SetMaxSendMessageSize(-1);
  // A node pings every 30 s also when idle (reference 14.1); gRPC would take that for abuse.
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  server = builder.BuildAndStart();
  if (!server || port == 0) {
    server.reset();
    return "the fake istiod cannot listen on " + address;
  }
  const std::lock_guard inner(mutex);
  bound = address.substr(0, address.rfind(':') + 1) + std::to_string(port);
  return {};
}

void FakeIstiod::Core::stop_listening() {
  const std::lock_guard lock(server_mutex);
  if (!server) return;
  server->Shutdown(std::chrono::system_clock::now());  // ends every call, and waits for the reactors
  server.reset();
}

void FakeIstiod::Core::restart() {
  stop_listening();
  // The port was ours a moment ago; whoever took it meanwhile gives it back soon or never.
  for (int tries = 0; tries < 100; ++tries) {
    if (listen()) return;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  DP_CHECK(false);
}

const FakeIstiod::Token* FakeIstiod::Core::token_of(const std::map<std::string, std::string>& headers,
                                                    std::string& why) {
  static const Token kAnyone;
  const auto found = headers.find("authorization");
  const std::string value = found == headers.end() ? "" : found->second;
  if (!rejecting) {
    if (tokens.empty()) return &kAnyone;
    for (const Token& token : tokens) {
      if (value == "Bearer " + token.value) return &token;
    }
  }
  why = value.empty() ? "authentication failure: no token" : "authentication failure: the token is not accepted";
  return nullptr;
}

void FakeIstiod::Core::tell(FakeIstiodEvent event) {
  event.at = std::chrono::system_clock::now();
  ++counts[event.kind];
  if (options.on_event) {
    undelivered.push_back(event);
    pump_wakes.notify_all();
  }
  events.push_back(std::move(event));
  if (events.size() > kEventsMax) events.pop_front();
  changed.notify_all();
}

void FakeIstiod::Core::note(const std::string& text) {
  FakeIstiodEvent event;
  event.text = text;
  tell(std::move(event));
}

void FakeIstiod::Core::after(std::chrono::milliseconds span, std::function<void()> call) {
  timers.emplace(Clock::now() + span, std::move(call));
  pump_wakes.notify_all();
}

bool FakeIstiod::Core::put(XdsResource resource) {
  const AdsTable::ResourcePtr standing = table.find(resource.type_url, resource.name);
  if (standing && standing->bytes == resource.bytes && standing->version == resource.version &&
      standing->any_type_url == resource.any_type_url) {
    return false;
  }
  auto made = std::make_shared<const XdsResource>(std::move(resource));
  table.put(made->type_url, made->name, made);
  for (const auto& [number, stream] : streams) {
    if (stream->watching()) stream->ads().on_changed(made->type_url, made->name, made.get());
  }
  return true;
}

bool FakeIstiod::Core::drop(const XdsName& name) {
  if (!table.find(name.type_url, name.name)) return false;
  table.put(name.type_url, name.name, nullptr);
  for (const auto& [number, stream] : streams) {
    if (stream->watching()) stream->ads().on_changed(name.type_url, name.name, nullptr);
  }
  return true;
}

uint64_t FakeIstiod::Core::count_push(std::set<std::string> types) {
  push_types[++pushes] = std::move(types);
  if (push_types.size() > kPushTypesMax) push_types.erase(push_types.begin());
  return pushes;
}

void FakeIstiod::Core::send_all() {
  for (const auto& [number, stream] : streams) stream->send();
}

void FakeIstiod::Core::pump() {
  std::unique_lock lock(mutex);
  while (!ending || !undelivered.empty()) {
    if (!undelivered.empty()) {
      std::deque<FakeIstiodEvent> told;
      told.swap(undelivered);
      lock.unlock();
      for (const FakeIstiodEvent& event : told) options.on_event(event);
      lock.lock();
      continue;
    }
    const auto first = timers.begin();
    if (first == timers.end()) {
      pump_wakes.wait(lock);
    } else if (first->first > Clock::now()) {
      pump_wakes.wait_until(lock, Clock::time_point(first->first));
    } else {
      const std::function<void()> call = std::move(first->second);
      timers.erase(first);
      call();
    }
  }
}

// --- the face

Result<std::unique_ptr<FakeIstiod>, std::string> FakeIstiod::start(Options options) {
  auto core = std::make_unique<Core>(std::move(options));
  if (auto listening = core->listen(); !listening) return listening.error();
  return std::unique_ptr<FakeIstiod>(new FakeIstiod(std::move(core)));
}

FakeIstiod::FakeIstiod(std::unique_ptr<Core> core) : core_(std::move(core)) {}
FakeIstiod::~FakeIstiod() = default;

std::string FakeIstiod::address() const {
  const std::lock_guard lock(core_->mutex);
  return core_->bound;
}

std::string FakeIstiod::root_pem() const {
  const std::lock_guard lock(core_->mutex);
  return core_->ca.root_pem();
}

void FakeIstiod::write_client_files(const std::string& directory) const {
  std::string token;
  {
    const std::lock_guard lock(core_->mutex);
    if (!core_->tokens.empty()) token = core_->tokens.front().value;
  }
  DP_CHECK(write_by_rename(directory + "/root-cert.pem", root_pem()));
  DP_CHECK(write_by_rename(directory + "/istio-token", token));
}

uint64_t FakeIstiod::change(std::vector<XdsResource> set, std::vector<XdsName> remove) {
  const std::lock_guard lock(core_->mutex);
  std::set<std::string> types;
  for (const XdsName& name : remove) {
    if (core_->drop(name)) types.insert(name.type_url);
  }
  for (XdsResource& resource : set) {
    const std::string type = resource.type_url;
    if (core_->put(std::move(resource))) types.insert(type);
  }
  const uint64_t push = core_->count_push(std::move(types));
  core_->send_all();
  return push;
}

uint64_t FakeIstiod::set_mesh(const reconcile::Mesh& mesh) {
  std::vector<XdsResource> wanted;
  for (const auto& [uid, workload] : mesh.workloads) wanted.push_back(resource(message_of(workload)));
  for (const auto& [key, service] : mesh.services) wanted.push_back(resource(message_of(service)));
  for (const auto& [key, policy] : mesh.policies) wanted.push_back(resource(message_of(policy)));
  std::set<std::pair<std::string, std::string>> names;
  for (const XdsResource& resource : wanted) names.emplace(resource.type_url, resource.name);
  std::vector<XdsName> gone;
  {
    const std::lock_guard lock(core_->mutex);
    for (const auto& [type, standing] : core_->table.types()) {
      for (const auto& [name, resource] : standing) {
        if (!names.contains({type, name})) gone.push_back({type, name});
      }
    }
  }
  return change(std::move(wanted), std::move(gone));
}

uint64_t FakeIstiod::push_again() {
  const std::lock_guard lock(core_->mutex);
  std::set<std::string> types;
  for (const auto& [type, names] : core_->table.types()) types.insert(type);
  for (const auto& [number, stream] : core_->streams) {
    if (stream->watching()) stream->ads().send_again(core_->table);
  }
  const uint64_t push = core_->count_push(std::move(types));
  core_->send_all();
  return push;
}

void FakeIstiod::send_response(const std::string& type_url, std::vector<XdsResource> resources,
                               std::vector<std::string> removed) {
  Response response;
  response.set_type_url(type_url);
  for (XdsResource& resource : resources) {
    auto& to = *response.add_resources();
    to.set_name(resource.name);
    to.set_version(resource.version);
    to.mutable_resource()->set_type_url(resource.any_type_url);
    to.mutable_resource()->set_value(std::move(resource.bytes));
  }
  for (std::string& name : removed) response.add_removed_resources(std::move(name));
  const std::lock_guard lock(core_->mutex);
  for (const auto& [number, stream] : core_->streams) {
    if (!stream->watching()) continue;
    response.set_nonce(stream->ads().take_nonce(type_url, core_->pushes));
    stream->send_bytes(response.SerializeAsString());
  }
}

void FakeIstiod::send_bytes(std::string bytes) {
  const std::lock_guard lock(core_->mutex);
  for (const auto& [number, stream] : core_->streams) stream->send_bytes(bytes);
}

bool FakeIstiod::wait_answered(uint64_t push, std::chrono::milliseconds patience) {
  return core_->wait(patience, [&] {
    const auto found = core_->push_types.find(push);
    const std::set<std::string> types = found == core_->push_types.end() ? std::set<std::string>{} : found->second;
    size_t watching = 0;
    for (const auto& [number, stream] : core_->streams) {
      if (!stream->watching()) continue;
      if (!stream->ads().settled(types, push)) return false;
      ++watching;
    }
    return watching > 0;
  });
}

bool FakeIstiod::wait_streams(size_t count, std::chrono::milliseconds patience) {
  return core_->wait(patience, [&] { return core_->streams.size() == count; });
}

bool FakeIstiod::wait_event(const std::function<bool(const FakeIstiodEvent&)>& wanted,
                            std::chrono::milliseconds patience) {
  return core_->wait(patience,
                     [&] { return std::any_of(core_->events.begin(), core_->events.end(), std::cref(wanted)); });
}

void FakeIstiod::disconnect(int grpc_code, const std::string& text) {
  const std::lock_guard lock(core_->mutex);
  for (const auto& [number, stream] : core_->streams) stream->end(grpc_code, text, "the test");
}

void FakeIstiod::set_delay(std::chrono::milliseconds delay) {
  const std::lock_guard lock(core_->mutex);
  core_->delay = delay;
}

void FakeIstiod::refuse_streams(int grpc_code, const std::string& text) {
  const std::lock_guard lock(core_->mutex);
  core_->refuse_code = grpc_code;
  core_->refuse_text = text;
}

void FakeIstiod::set_tokens(std::vector<Token> tokens) {
  const std::lock_guard lock(core_->mutex);
  core_->tokens = std::move(tokens);
}

void FakeIstiod::reject_tokens(bool reject) {
  const std::lock_guard lock(core_->mutex);
  core_->rejecting = reject;
}

void FakeIstiod::stop_listening() { core_->stop_listening(); }
void FakeIstiod::listen() { core_->restart(); }
void FakeIstiod::rotate_server() { core_->restart(); }

void FakeIstiod::rotate_root(bool keep_old) {
  {
    const std::lock_guard lock(core_->mutex);
    const std::string name = "Fake root " + std::to_string(++core_->next_number);
    core_->ca.replace_root(FakeCa::make_root(core_->options.rsa_root, name, wall_clock()), keep_old);
  }
  core_->restart();
}

void FakeIstiod::add_root(const std::string& pem) {
  const std::lock_guard lock(core_->mutex);
  core_->ca.add_root(pem);
}

void FakeIstiod::set_ca(CaBehaviour behaviour) {
  const std::lock_guard lock(core_->mutex);
  core_->ca.set(std::move(behaviour));
}

void FakeIstiod::set_ca_for(const std::string& identity, CaBehaviour behaviour) {
  const std::lock_guard lock(core_->mutex);
  core_->ca.set_for(identity, std::move(behaviour));
}

size_t FakeIstiod::streams() const {
  const std::lock_guard lock(core_->mutex);
  return core_->streams.size();
}

size_t FakeIstiod::resources() const {
  const std::lock_guard lock(core_->mutex);
  return core_->table.size();
}

std::vector<FakeIstiodEvent> FakeIstiod::events() const {
  const std::lock_guard lock(core_->mutex);
  return {core_->events.begin(), core_->events.end()};
}

size_t FakeIstiod::count(FakeIstiodEvent::Kind kind) const {
  const std::lock_guard lock(core_->mutex);
  const auto found = core_->counts.find(kind);
  return found == core_->counts.end() ? 0 : found->second;
}

std::string FakeIstiod::history() const {
  std::string out;
  for (const FakeIstiodEvent& event : events()) {
    out += std::string(name_of(event.kind)) + " stream " + std::to_string(event.stream) + " " + event.type_url + " " +
           event.nonce + " resources " + std::to_string(event.resources) + " removed " + std::to_string(event.removed) +
           " " + event.identity + " " + (event.kind == FakeIstiodEvent::Kind::kCsr ? "" : event.text) + "\n";
  }
  return out;
}

size_t FakeIstiod::certificates_issued() const {
  const std::lock_guard lock(core_->mutex);
  return core_->issued;
}

size_t FakeIstiod::certificate_calls_at_once_max() const {
  const std::lock_guard lock(core_->mutex);
  return core_->ca_calls_max;
}

std::string FakeIstiod::certificate_bytes() const {
  const std::lock_guard lock(core_->mutex);
  return core_->ca_bytes;
}

}  // namespace culvert::testkit
