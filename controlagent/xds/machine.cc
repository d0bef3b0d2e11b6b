#include "xds/machine.h"

#include <algorithm>

#include "xds/convert.h"

namespace culvert::xds {
namespace {

using envoy::service::discovery::v3::Resource;

// What we reckon for one record besides its bytes: map nodes, the record itself, its entry in Kept.
constexpr size_t kRecordCost = 256, kElementCost = 64;

// A response is applied in one go up to this many records; a longer one in several, so that it never stands twice in
// memory as a whole.
constexpr size_t kRecordsPerChange = 4096;

// Reasons of a NACK in the form of reference 14.4 step 3, as many as there is room for.
class Reasons {
 public:
  explicit Reasons(const Limits& limits) : limits_(limits) {}

  void add(const std::string& name, std::string_view reason) {
    ++count_;
    if (said_ >= limits_.reasons_max || text_.size() >= limits_.reasons_bytes_max) return;
    ++said_;
    if (!text_.empty()) text_ += "; ";
    text_ += (name.empty() ? std::string("(no name)") : shown(name)) + ": " + shown(reason, 1000);
  }
  size_t count() const { return count_; }
  std::string text() const {
    return count_ == said_ ? text_ : text_ + "; and " + std::to_string(count_ - said_) + " more";
  }

 private:
  const Limits& limits_;
  std::string text_;
  size_t count_ = 0, said_ = 0;
};

void append(std::vector<std::string>& notes, const std::string& name, Fields& fields) {
  for (std::string& note : fields.take_notes()) {
    if (notes.size() < Fields::kNotesMax) notes.push_back(shown(name) + ": " + std::move(note));
  }
}

bool printable(std::string_view name) {
  return std::none_of(name.begin(), name.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

}  // namespace

// One response under way: the change it makes of the store, and what is to be told.
class Machine::Turn {
 public:
  Turn(Type& its_type, const Limits& limits) : type(its_type), reasons(limits) {}

  // Everything so far, so that what follows is applied after it.
  void flush(reconcile::MeshStore& store) {
    store.apply(reconcile::Source::kIstiod, std::move(change));
    change = {};
  }

  Type& type;
  Reasons reasons;
  Outcome outcome;
  reconcile::MeshChange change;
  // Reused from resource to resource: their memory is.
  istio::workload::Address address;
  istio::security::Authorization authorization;
};

Machine::Machine(envoy::config::core::v3::Node node, bool on_demand, const Limits& limits, reconcile::MeshStore& store)
    : node_(std::move(node)), on_demand_(on_demand), limits_(limits), store_(store) {
  addresses_.wildcard = !on_demand;
}

Machine::Type* Machine::type_of(std::string_view url) {
  if (url == addresses_.url) return &addresses_;
  if (url == authorizations_.url) return &authorizations_;
  return nullptr;
}

bool Machine::ready() const {
  for (const Type* type : {&addresses_, &authorizations_}) {
    if (type->wildcard && !type->acked) return false;
  }
  return true;
}

Request Machine::first_request(Type& type) {
  Request request;
  *request.mutable_node() = node_;
  request.set_type_url(std::string(type.url));
  if (!type.wildcard) {
    // istiod takes the two together as: subscribed to nothing yet (reference 14.4 step 2).
    request.add_resource_names_subscribe("*");
    request.add_resource_names_unsubscribe("*");
  }
  for (auto& [name, version] : type.kept.claim(limits_.request_bytes_max)) {
    request.mutable_initial_resource_versions()->insert({std::move(name), std::move(version)});
  }
  type.first_of_stream = true;
  return request;
}

// Names of an on-demand type that the first request did not carry: those still wanted, and those kept but not claimed.
void Machine::ask_again(Type& type, std::vector<Request>& out) const {
  std::vector<std::string> names(wanted_.begin(), wanted_.end());
  for (std::string& name : type.kept.unknown_names(0)) names.push_back(std::move(name));
  size_t bytes = limits_.request_bytes_max;  // full: the first name opens a request
  for (std::string& name : names) {
    if (bytes + name.size() + 8 > limits_.request_bytes_max) {
      out.emplace_back().set_type_url(std::string(type.url));
      bytes = 0;
    }
    bytes += name.size() + 8;
    out.back().add_resource_names_subscribe(std::move(name));
  }
}

std::vector<Request> Machine::start() {
  std::vector<Request> out;
  out.push_back(first_request(addresses_));
  out.push_back(first_request(authorizations_));
  if (on_demand_) ask_again(addresses_, out);
  return out;
}

std::optional<Outcome> Machine::on_response(const EncodedResponse& response) {
  const auto envelope = read_envelope(response);
  if (!envelope) return std::nullopt;
  Type* type = type_of(envelope->type_url);
  if (type == nullptr) {
    Outcome ignored;
    ignored.type_url = envelope->type_url;
    ignored.reply.set_type_url(envelope->type_url);
    ignored.reply.set_response_nonce(envelope->nonce);
    return ignored;
  }
  if (++responses_ == 0) ++responses_;  // 0 names none

  Turn turn(*type, limits_);
  Outcome& outcome = turn.outcome;
  outcome.type_url = envelope->type_url;
  outcome.known_type = true;
  const std::vector<RecordKind> kinds =
      type == &addresses_ ? std::vector{RecordKind::kWorkload, RecordKind::kService} : std::vector{RecordKind::kPolicy};
  std::vector<std::string> not_there;  // wanted names among those removed
  each_removed(response, limits_, [&](const std::string& name) {
    if (type == &addresses_ && wanted_.contains(name)) not_there.push_back(name);
    for (const RecordId& gone : type->kept.remove(name, kinds)) {
      remove(gone, turn);
      ++outcome.removed;
    }
  });
  each_resource(response, limits_, [&](const ReadResource& read) { take(read, turn); });
  if (type->first_of_stream && type->wildcard) {
    for (const std::string& name : type->kept.unknown_names(responses_)) {
      for (const RecordId& gone : type->kept.remove(name, {})) {
        remove(gone, turn);
        ++outcome.removed;
      }
    }
  }
  turn.flush(store_);
  type->first_of_stream = false;
  for (std::string& name : not_there) {
    if (wanted_.erase(name) != 0) outcome.answers.emplace_back(std::move(name), std::nullopt);
  }

  outcome.refused = turn.reasons.count();
  outcome.reply.set_type_url(envelope->type_url);
  outcome.reply.set_response_nonce(envelope->nonce);
  if (outcome.refused != 0) {
    outcome.reasons = turn.reasons.text();
    outcome.reply.mutable_error_detail()->set_message(outcome.reasons);
  }

  const bool was_ready = ready();
  type->applied = true;
  if (outcome.refused == 0) type->acked = true;
  outcome.now_ready = !was_ready && ready();
  if (!completed_ && (addresses_.applied || !addresses_.wildcard) && authorizations_.applied) {
    completed_ = true;
    store_.complete(reconcile::Source::kIstiod);
  }
  return std::move(outcome);
}

void Machine::take(const ReadResource& read, Turn& turn) {
  const auto refuse = [&](std::string_view reason) {
    turn.reasons.add(read.name, reason);
    turn.type.kept.refused(read.name, responses_);
    // Whoever waits for it waits in vain.
    if (&turn.type == &addresses_ && wanted_.erase(read.name) != 0) {
      turn.outcome.answers.emplace_back(read.name, std::nullopt);
    }
  };
  if (read.resource == nullptr) return refuse(read.problem);
  const Resource& resource = *read.resource;
  if (resource.name().empty() || resource.name().size() > limits_.name_bytes_max || !printable(resource.name())) {
    return refuse("name: has to be a printable text of 1 to " + std::to_string(limits_.name_bytes_max) + " bytes");
  }
  if (static_cast<size_t>(resource.aliases_size()) > limits_.aliases_max) {
    return refuse("aliases: " + std::to_string(resource.aliases_size()) + ", at most " +
                  std::to_string(limits_.aliases_max) + " are taken");
  }
  if (resource.version().size() > limits_.name_bytes_max) return refuse("version: is too long");
  if (resource.resource().type_url() != turn.type.url) {
    return refuse("resource: is of type `" + shown(resource.resource().type_url()) + "`, not " +
                  std::string(turn.type.url));
  }
  const std::string& encoded = resource.resource().value();
  const size_t elements = count_elements(turn.type.url, encoded, limits_.resource_elements_max);
  if (elements >= limits_.resource_elements_max) {
    return refuse("resource: has " + std::to_string(limits_.resource_elements_max) + " entries or more");
  }
  const size_t cost = kRecordCost + encoded.size() + elements * kElementCost;
  const Kept& kept = turn.type.kept;
  const Kept::Entry* const former = kept.find(resource.name());
  if (former == nullptr && kept.size() >= limits_.resources_max) {
    return refuse("resource: " + std::to_string(limits_.resources_max) + " of its type are kept, no more are taken");
  }
  if (kept.cost() - (former == nullptr ? 0 : former->cost) + cost > limits_.kept_bytes_max) {
    return refuse("resource: those kept of its type take " + std::to_string(limits_.kept_bytes_max >> 20) +
                  " MiB, no more are taken");
  }

  Fields fields;
  const auto settle = [&](auto& record, auto& records, RecordKind kind, std::string key) {
    if (fields.refused()) return refuse(fields.take_problem());
    append(turn.outcome.notes, resource.name(), fields);
    put(read, {kind, std::move(key)}, cost, turn);
    records.push_back(std::move(record));
    if (records.size() >= kRecordsPerChange) turn.flush(store_);
  };
  if (&turn.type == &authorizations_) {
    if (!turn.authorization.ParseFromString(encoded)) return refuse("resource: cannot be read as an Authorization");
    reconcile::Policy policy = convert(turn.authorization, fields);
    return settle(policy, turn.change.policies, RecordKind::kPolicy, policy.key());
  }
  if (!turn.address.ParseFromString(encoded)) return refuse("resource: cannot be read as an Address");
  switch (turn.address.type_case()) {
    case istio::workload::Address::kWorkload: {
      reconcile::Workload workload = convert(turn.address.workload(), resource.name(), fields);
      std::string uid = workload.uid;
      return settle(workload, turn.change.workloads, RecordKind::kWorkload, std::move(uid));
    }
    case istio::workload::Address::kService: {
      reconcile::Service service = convert(turn.address.service(), fields);
      std::string key = service.key();
      return settle(service, turn.change.services, RecordKind::kService, std::move(key));
    }
    case istio::workload::Address::TYPE_NOT_SET:
      return refuse("resource: is neither a workload nor a service");
  }
}

void Machine::put(const ReadResource& read, RecordId record, size_t cost, Turn& turn) {
  const Resource& resource = *read.resource;
  Kept& kept = turn.type.kept;
  const Kept::Entry* const former = kept.find(resource.name());
  const bool twice = former != nullptr && former->response == responses_;
  const auto orphans = kept.put(resource.name(), record, resource.version(), static_cast<uint32_t>(cost), responses_);
  // A name given twice in one response: the later one counts. Removals of a change come before its additions, so what
  // the earlier one added has to be in the store before it can be taken away.
  if (twice && !orphans.empty()) turn.flush(store_);
  for (const RecordId& orphan : orphans) remove(orphan, turn);
  kept.set_aliases(resource.name(), {resource.aliases().begin(), resource.aliases().end()});
  ++turn.outcome.resources;
  if (&turn.type != &addresses_ || wanted_.empty()) return;
  const auto answer = [&](const std::string& name) {
    if (wanted_.erase(name) != 0) turn.outcome.answers.emplace_back(name, resource.name());
  };
  answer(resource.name());
  for (const std::string& alias : resource.aliases()) answer(alias);
}

void Machine::remove(const RecordId& record, Turn& turn) {
  switch (record.kind) {
    case RecordKind::kWorkload:
      turn.change.removed_workloads.push_back(record.key);
      break;
    case RecordKind::kService:
      turn.change.removed_services.push_back(record.key);
      break;
    case RecordKind::kPolicy:
      turn.change.removed_policies.push_back(record.key);
      break;
  }
}

Machine::Want Machine::want(const std::string& name) {
  if (!on_demand_ || name.empty() || name.size() > limits_.name_bytes_max || !printable(name)) {
    return {Want::Kind::kRefused};
  }
  if (std::string primary = addresses_.kept.primary_of(name); !primary.empty()) {
    return {Want::Kind::kAnswered, std::move(primary)};
  }
  if (wanted_.contains(name)) return {Want::Kind::kWaiting};
  if (wanted_.size() >= limits_.wanted_max) return {Want::Kind::kRefused};
  wanted_.insert(name);
  Want out{Want::Kind::kAsked};
  out.request.set_type_url(std::string(addresses_.url));
  out.request.add_resource_names_subscribe(name);
  return out;
}

}  // namespace culvert::xds
