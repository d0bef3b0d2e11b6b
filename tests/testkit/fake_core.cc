#include "tests/testkit/fake_core.h"

#include "base/check.h"
#include "base/ip_address.h"
#include "tests/testkit/fake_stream.h"

namespace culvert::testkit {

namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kPushTypesMax = 1000;  // of how many pushes the types are remembered

UnixTime wall_clock() { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }

// Names of the certificate: the given ones, and the address it listens on.
void put_names(const std::vector<std::string>& names, const std::string& address, LeafOptions& leaf) {
  leaf.ip_sans = {"127.0.0.1", "::1"};
  for (const std::string& name : names) (IpAddress::parse(name) ? leaf.ip_sans : leaf.dns_sans).push_back(name);
  const auto endpoint = Endpoint::parse(address);
  if (endpoint && !endpoint->address.is_unspecified() && !endpoint->address.is_loopback()) {
    leaf.ip_sans.push_back(endpoint->address.to_string());
  }
}

}  // namespace

class FakeIstiod::Core::Service final : public grpc::CallbackGenericService {
 public:
  explicit Service(Core& core) : core_(core) {}
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext* context) override {
    return core_.react(context);
  }

 private:
  Core& core_;
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
  note("listening with a certificate of its own");
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

}  // namespace culvert::testkit
