#include "tests/testkit/fake_istiod.h"

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "base/check.h"
#include "tests/testkit/fake_core.h"
#include "tests/testkit/fake_stream.h"
#include "tests/testkit/mesh_messages.h"

namespace culvert::testkit {

namespace {

using Response = envoy::service::discovery::v3::DeltaDiscoveryResponse;

UnixTime wall_clock() { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }

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
  core_->note("streams are ended");
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
  core_->note(reject ? "tokens are rejected" : "tokens are accepted");
  core_->rejecting = reject;
}

void FakeIstiod::stop_listening() {
  core_->stop_listening();
  const std::lock_guard lock(core_->mutex);
  core_->note("not listening");
}

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
