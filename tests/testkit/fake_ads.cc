#include "tests/testkit/fake_ads.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>

#include "base/ip_address.h"

namespace culvert::testkit {

namespace {

using Request = envoy::service::discovery::v3::DeltaDiscoveryRequest;
using Response = envoy::service::discovery::v3::DeltaDiscoveryResponse;

// Maps in a fixed order: equal content has equal bytes, and an equal version.
std::string deterministic_bytes(const google::protobuf::MessageLite& message) {
  std::string out;
  {
    google::protobuf::io::StringOutputStream stream(&out);
    google::protobuf::io::CodedOutputStream coded(&stream);
    coded.SetSerializationDeterministic(true);
    message.SerializeToCodedStream(&coded);
  }
  return out;
}

std::string hash_text(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a, 64 bits
  for (const char c : bytes) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  char text[17];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(hash));
  return text;
}

std::string key_of(const std::string& network, const std::string& bytes) {
  const auto address = IpAddress::from_bytes({reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()});
  return address ? network + "/" + address->to_string() : std::string();
}

template <class Set>
const std::set<std::string>& found_or_none(const Set& set, const std::string& key) {
  static const std::set<std::string> kNone;
  const auto found = set.find(key);
  return found == set.end() ? kNone : found->second;
}

}  // namespace

XdsResource resource(const istio::workload::Address& message) {
  XdsResource out;
  out.type_url = out.any_type_url = kAddressType;
  out.bytes = deterministic_bytes(message);
  out.version = hash_text(out.bytes);
  if (message.has_workload()) {
    const istio::workload::Workload& workload = message.workload();
    out.name = workload.uid();
    out.node = workload.node();
    for (const std::string& bytes : workload.addresses()) out.also.push_back(key_of(workload.network(), bytes));
    for (const auto& [service, ports] : workload.services()) out.services.push_back(service);
  } else {
    const istio::workload::Service& service = message.service();
    out.name = service.namespace_() + "/" + service.hostname();
    for (const auto& vip : service.addresses()) out.also.push_back(key_of(vip.network(), vip.address()));
  }
  return out;
}

XdsResource resource(const istio::security::Authorization& message) {
  XdsResource out;
  out.type_url = out.any_type_url = kAuthorizationType;
  out.bytes = deterministic_bytes(message);
  out.name = message.namespace_() + "/" + message.name();
  return out;
}

XdsResource raw_resource(std::string type_url, std::string name, std::string bytes, std::string version) {
  XdsResource out;
  out.any_type_url = type_url;
  out.type_url = std::move(type_url);
  out.name = std::move(name);
  out.bytes = std::move(bytes);
  out.version = std::move(version);
  return out;
}

// --- the table

void AdsTable::index(const XdsResource& resource, bool stands) {
  const auto note = [&](Names& names, const std::string& key) {
    if (key.empty()) return;
    if (stands) {
      names[key].insert(resource.name);
    } else if (const auto found = names.find(key); found != names.end()) {
      found->second.erase(resource.name);
      if (found->second.empty()) names.erase(found);
    }
  };
  for (const std::string& name : resource.also) note(also_, name);
  for (const std::string& service : resource.services) note(endpoints_, service);
  note(nodes_, resource.node);
}

void AdsTable::put(const std::string& type_url, const std::string& name, ResourcePtr resource) {
  ByName& names = types_[type_url];
  const auto found = names.find(name);
  if (found != names.end()) {
    index(*found->second, false);
    if (resource == nullptr) {
      names.erase(found);
      return;
    }
    found->second = resource;
  } else if (resource != nullptr) {
    names.emplace(name, resource);
  }
  if (resource != nullptr) index(*resource, true);
}

AdsTable::ResourcePtr AdsTable::find(const std::string& type_url, const std::string& name) const {
  const auto type = types_.find(type_url);
  if (type == types_.end()) return nullptr;
  const auto found = type->second.find(name);
  return found == type->second.end() ? nullptr : found->second;
}

const AdsTable::ByName& AdsTable::all(const std::string& type_url) const {
  static const ByName kNone;
  const auto found = types_.find(type_url);
  return found == types_.end() ? kNone : found->second;
}

size_t AdsTable::size() const {
  size_t out = 0;
  for (const auto& [type, names] : types_) out += names.size();
  return out;
}

std::set<std::string> AdsTable::meant_by(const std::string& type_url, const std::string& asked) const {
  std::set<std::string> out;
  if (find(type_url, asked) != nullptr) out.insert(asked);
  if (type_url != kAddressType) return out;
  for (const std::string& name : found_or_none(also_, asked)) out.insert(name);
  std::set<std::string> behind;
  for (const std::string& name : out) {
    const std::set<std::string>& endpoints = found_or_none(endpoints_, name);
    behind.insert(endpoints.begin(), endpoints.end());
  }
  out.merge(behind);
  return out;
}

const std::set<std::string>& AdsTable::of_node(const std::string& node) const { return found_or_none(nodes_, node); }

// --- a stream

FakeIstiodEvent AdsStream::event(FakeIstiodEvent::Kind kind, const std::string& type_url) const {
  FakeIstiodEvent out;
  out.kind = kind;
  out.stream = number_;
  out.node = node_;
  out.type_url = type_url;
  return out;
}

AdsStream::Watch* AdsStream::watch_of(const std::string& type_url) {
  for (const auto& watch : watches_) {
    if (watch->type_url == type_url) return watch.get();
  }
  return nullptr;
}

// Reference 14.3: id, its four parts, and the token's namespace.
std::optional<AdsStream::Refusal> AdsStream::take_node(const Request& request) {
  if (!node_.empty()) return std::nullopt;
  if (!request.has_node() || request.node().id().empty()) {
    return Refusal{grpc::StatusCode::INVALID_ARGUMENT, "missing node information"};
  }
  const std::string& id = request.node().id();
  if (std::count(id.begin(), id.end(), '~') != 3) {
    return Refusal{grpc::StatusCode::INVALID_ARGUMENT, "missing parts in the service node " + id};
  }
  const size_t second = id.find('~', id.find('~') + 1);
  const std::string name = id.substr(second + 1, id.find('~', second + 1) - second - 1);  // pod.namespace
  const size_t dot = name.rfind('.');
  if (dot == std::string::npos) {
    return Refusal{grpc::StatusCode::INVALID_ARGUMENT, "missing namespace in the service node " + id};
  }
  if (!name_space_.empty() && name.substr(dot + 1) != name_space_) {
    return Refusal{grpc::StatusCode::PERMISSION_DENIED, "authorization failed: no identities (" + name_space_ +
                                                            ") matched namespace " + name.substr(dot + 1)};
  }
  node_ = id;
  const auto& fields = request.node().metadata().fields();
  if (const auto found = fields.find("NODE_NAME"); found != fields.end()) node_name_ = found->second.string_value();
  return std::nullopt;
}

std::optional<AdsStream::Refusal> AdsStream::on_request(const Request& request, const AdsTable& table,
                                                        std::vector<FakeIstiodEvent>& events) {
  if (auto refusal = take_node(request)) return refusal;
  Watch* watch = watch_of(request.type_url());
  const bool first = watch == nullptr;
  const bool subscribes = request.resource_names_subscribe_size() + request.resource_names_unsubscribe_size() > 0;
  if (first || subscribes || request.response_nonce().empty()) {
    FakeIstiodEvent out = event(FakeIstiodEvent::Kind::kRequest, request.type_url());
    out.nonce = request.response_nonce();
    out.subscribe.assign(request.resource_names_subscribe().begin(), request.resource_names_subscribe().end());
    out.unsubscribe.assign(request.resource_names_unsubscribe().begin(), request.resource_names_unsubscribe().end());
    out.known = static_cast<size_t>(request.initial_resource_versions_size());
    events.push_back(std::move(out));
  }
  if (first) {
    begin(request, table);
    return std::nullopt;
  }
  if (!request.response_nonce().empty() && !take_answer(*watch, request, events)) return std::nullopt;
  for (const std::string& name : request.resource_names_subscribe()) subscribe(*watch, name, table);
  for (const std::string& name : request.resource_names_unsubscribe()) watch->asked.erase(name);
  return std::nullopt;
}

void AdsStream::begin(const Request& request, const AdsTable& table) {
  watches_.push_back(std::make_unique<Watch>());
  Watch& watch = *watches_.back();
  watch.type_url = request.type_url();
  const auto& wanted = request.resource_names_subscribe();
  const auto& unwanted = request.resource_names_unsubscribe();
  const auto names_star = [](const auto& names) { return std::find(names.begin(), names.end(), "*") != names.end(); };
  watch.wildcard = (wanted.empty() || names_star(wanted)) && !names_star(unwanted);
  watch.owed = true;  // the first request is always answered
  for (const auto& [name, version] : request.initial_resource_versions()) {
    watch.holds.insert(name);
    const AdsTable::ResourcePtr standing = table.find(watch.type_url, name);
    if (standing == nullptr || standing->version.empty() || standing->version != version) watch.dirty.insert(name);
    // On demand the names that a node kept are subscriptions (reference 14.4).
    if (!watch.wildcard) watch.implied.insert(name);
  }
  if (watch.wildcard) {
    for (const auto& [name, standing] : table.all(watch.type_url)) {
      if (!watch.holds.contains(name)) watch.dirty.insert(name);
    }
    return;
  }
  for (const std::string& name : wanted) {
    if (name != "*") subscribe(watch, name, table);
  }
  if (watch.type_url == kAddressType && !node_name_.empty()) {
    for (const std::string& name : table.of_node(node_name_)) {
      watch.implied.insert(name);
      if (!watch.holds.contains(name)) watch.dirty.insert(name);
    }
  }
}

void AdsStream::subscribe(Watch& watch, const std::string& name, const AdsTable& table) {
  watch.owed = true;
  if (watch.wildcard) {
    // As seen: everything is sent again, and a name that is not a primary one is listed as removed.
    for (const auto& [each, standing] : table.all(watch.type_url)) watch.dirty.insert(each);
    if (table.find(watch.type_url, name) == nullptr) watch.not_found.insert(name);
    return;
  }
  watch.asked.insert(name);
  const std::set<std::string> meant = table.meant_by(watch.type_url, name);
  if (meant.empty()) watch.not_found.insert(name);
  for (const std::string& each : meant) {
    watch.implied.insert(each);
    watch.dirty.insert(each);
  }
}

bool AdsStream::take_answer(Watch& watch, const Request& request, std::vector<FakeIstiodEvent>& events) {
  const auto found = std::find_if(watch.sent.begin(), watch.sent.end(),
                                  [&](const Sent& sent) { return sent.nonce == request.response_nonce(); });
  if (found == watch.sent.end()) {
    // Answered before: a subscription that names the last response is up to date.
    if (request.response_nonce() == watch.nonce) return true;
    FakeIstiodEvent out = event(FakeIstiodEvent::Kind::kStale, watch.type_url);
    out.nonce = request.response_nonce();
    events.push_back(std::move(out));
    return false;
  }
  const bool nack = request.has_error_detail();
  FakeIstiodEvent out = event(nack ? FakeIstiodEvent::Kind::kNack : FakeIstiodEvent::Kind::kAck, watch.type_url);
  out.nonce = found->nonce;
  out.push = found->push;
  if (nack) out.text = request.error_detail().message();
  events.push_back(std::move(out));
  watch.answered = std::max(watch.answered, found->push);
  watch.sent.erase(found);
  return request.response_nonce() == watch.nonce;
}

bool AdsStream::concerns(const Watch& watch, const XdsResource& resource) const {
  if (watch.implied.contains(resource.name) || watch.asked.contains(resource.name)) return true;
  const auto is_asked = [&](const std::string& name) { return watch.asked.contains(name); };
  const auto is_implied = [&](const std::string& name) { return watch.implied.contains(name); };
  return std::any_of(resource.also.begin(), resource.also.end(), is_asked) ||
         std::any_of(resource.services.begin(), resource.services.end(), is_implied) ||
         (!resource.node.empty() && resource.node == node_name_);
}

void AdsStream::on_changed(const std::string& type_url, const std::string& name, const XdsResource* now) {
  Watch* watch = watch_of(type_url);
  if (watch == nullptr) return;
  if (watch->wildcard) {
    watch->dirty.insert(name);
  } else if (now == nullptr ? watch->holds.contains(name) || watch->dirty.contains(name) : concerns(*watch, *now)) {
    if (now != nullptr) watch->implied.insert(name);
    watch->dirty.insert(name);
  }
}

void AdsStream::send_again(const AdsTable& table) {
  for (const auto& watch : watches_) {
    for (const auto& [name, standing] : table.all(watch->type_url)) {
      if (watch->wildcard || concerns(*watch, *standing)) watch->dirty.insert(name);
    }
  }
}

bool AdsStream::has_work() const {
  return std::any_of(watches_.begin(), watches_.end(), [](const auto& watch) {
    return watch->owed || !watch->dirty.empty() || !watch->not_found.empty();
  });
}

std::string AdsStream::take_nonce(const std::string& type_url, uint64_t push) {
  std::string nonce = std::to_string(number_) + "." + std::to_string(++nonces_);
  if (Watch* watch = watch_of(type_url)) {
    watch->nonce = nonce;
    watch->sent.push_back({nonce, push});
  }
  return nonce;
}

std::optional<Response> AdsStream::next(const AdsTable& table, uint64_t push, std::vector<FakeIstiodEvent>& events) {
  for (const auto& each : watches_) {
    Watch& watch = *each;
    std::optional<Response> out;
    if (watch.owed) out.emplace();
    for (const std::string& name : watch.dirty) {
      const AdsTable::ResourcePtr standing = table.find(watch.type_url, name);
      if (standing == nullptr) {
        if (watch.holds.erase(name) == 0) continue;  // came and went in between
        if (!out) out.emplace();
        out->add_removed_resources(name);
        continue;
      }
      if (!out) out.emplace();
      watch.holds.insert(name);
      auto& to = *out->add_resources();
      to.set_name(standing->name);
      to.set_version(standing->version);
      to.mutable_resource()->set_type_url(standing->any_type_url);
      to.mutable_resource()->set_value(standing->bytes);
      for (const std::string& also : standing->also) {
        if (watch.asked.contains(also)) to.add_aliases(also);
      }
    }
    for (const std::string& name : watch.not_found) {
      if (!out) out.emplace();
      out->add_removed_resources(name);
    }
    watch.dirty.clear();
    watch.not_found.clear();
    watch.owed = false;
    if (!out) continue;
    out->set_type_url(watch.type_url);
    out->set_system_version_info(std::to_string(push));
    out->set_nonce(take_nonce(watch.type_url, push));
    FakeIstiodEvent told = event(FakeIstiodEvent::Kind::kPush, watch.type_url);
    told.nonce = out->nonce();
    told.push = push;
    told.resources = static_cast<size_t>(out->resources_size());
    told.removed = static_cast<size_t>(out->removed_resources_size());
    events.push_back(std::move(told));
    return out;
  }
  return std::nullopt;
}

bool AdsStream::settled(const std::set<std::string>& types, uint64_t push) const {
  const auto done = [&](const Watch& watch) {
    const bool idle = !watch.owed && watch.dirty.empty() && watch.not_found.empty() && watch.sent.empty();
    return idle || (watch.answered >= push && push > 0);
  };
  for (const std::string& type : types) {
    const auto found =
        std::find_if(watches_.begin(), watches_.end(), [&](const auto& w) { return w->type_url == type; });
    if (found == watches_.end() || !done(**found)) return false;
  }
  return !watches_.empty() &&
         (!types.empty() || std::all_of(watches_.begin(), watches_.end(), [&](const auto& w) { return done(*w); }));
}

}  // namespace culvert::testkit
