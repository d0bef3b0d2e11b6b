// One turn goes: take in what is wanted, join the session, look whether what was made is still there, tell the data
// plane what went away (peers wait for their resets), remove what is unwanted, make what is missing, hand it over, have
// it attached. Each step does nothing when there is nothing to do.
#include "southbound/link_keeper.h"

#include <algorithm>

#include "control/api/contract.h"
#include "southbound/convert.h"

namespace culvert::southbound {
namespace {

// The data plane may hold the only queue of a device: it is asked first, if it answers soon.
constexpr Duration kFirstSessionPatience = 1s;

bool is_port(const std::string& name) { return name.starts_with(api::kPortNamePrefix); }

api::Attachment attachment_of(const WantedLink& wanted) {
  api::Attachment out;
  out.set_id(wanted.spec.name);
  out.set_workload(wanted.workload);
  out.set_interface(wanted.spec.interface);
  for (const IpAddress& address : wanted.spec.addresses) out.add_addresses(bytes_of_address(address));
  for (const IpAddress& gateway : wanted.spec.gateways) out.add_gateways(bytes_of_address(gateway));
  out.set_mtu(wanted.spec.mtu);
  return out;
}

// The device stays when only what is set on it changes.
bool same_device(const WantedLink& a, const WantedLink& b) {
  return a.spec.netns == b.spec.netns && a.spec.interface == b.spec.interface;
}

}  // namespace

LinkKeeper::LinkKeeper(const Options& options, node::Links& links, log::Log& log)
    : options_(options), links_(links), log_(log), descriptors_(options.descriptor_socket) {}

void LinkKeeper::set_links(std::vector<WantedLink> links) {
  {
    const std::lock_guard lock(inbox_mutex_);
    wanted_ = std::move(links);
  }
  wake();
}

void LinkKeeper::on_event() {
  {
    const std::lock_guard lock(inbox_mutex_);
    states_changed_ = true;
  }
  wake();
}

Instant LinkKeeper::turn(const SessionPtr& session, Instant now) {
  if (session == nullptr || session->number != session_number_) {
    session_number_ = session == nullptr ? 0 : session->number;
    joined_ = false;
    told_.reset();
    call_at_ = now;
    call_back_off_.reset();
    descriptors_.reset();
    for (auto& [name, link] : by_name_) link.given = link.up = false;
  }
  take_inbox();
  if (!known_wanted_) return kNever;
  if (make_from_ == kNever) make_from_ = now + kFirstSessionPatience;
  if (session != nullptr && !joined_) join(*session);
  const bool talking = session != nullptr && joined_;
  if (talking) check_states(*session);

  for (auto& [name, link] : by_name_) look_at(link);
  if (talking) reconcile(*session);
  remove_unwanted();
  if (talking || (session == nullptr && now >= make_from_)) {
    for (auto& [name, link] : by_name_) make(link);
  }
  if (talking) {
    reconcile(*session);  // a device that was made anew: the data plane gives its old queue up first
    for (auto& [name, link] : by_name_) give(link);
    reconcile(*session);
  }
  count_pods();
  const bool at_rest = by_name_.empty() && (session == nullptr || told_);
  return at_rest ? kNever : monotonic_now() + options_.look_every;
}

void LinkKeeper::count_pods() {
  std::set<std::string> up;
  for (const auto& [name, link] : by_name_) {
    if (link.up && !is_port(name)) up.insert(name);
  }
  for (const std::string& name : up) pods_started_ += pods_up_.contains(name) ? 0 : 1;
  for (const std::string& name : pods_up_) pods_stopped_ += up.contains(name) ? 0 : 1;
  attached_ = up.size();
  pods_up_ = std::move(up);
}

void LinkKeeper::take_inbox() {
  const std::lock_guard lock(inbox_mutex_);
  if (!wanted_) return;
  std::map<std::string, Link> before;
  before.swap(by_name_);
  for (WantedLink& wanted : *wanted_) {
    Link& link = by_name_[wanted.spec.name];
    const auto found = before.find(wanted.spec.name);
    if (found != before.end() && same_device(found->second.wanted, wanted)) {
      link = std::move(found->second);
      before.erase(found);
    }
    if (link.made != wanted) link.made.reset();
    link.wanted = std::move(wanted);
    link.retry_at = Instant{};
    link.back_off.reset();
    link.last_failure.clear();
  }
  for (auto& [name, link] : before) {
    if (link.queue) unwanted_.emplace_back(name, std::move(link.queue));
  }
  wanted_.reset();
  known_wanted_ = true;
}

void LinkKeeper::join(const Session& session) {
  if (monotonic_now() < call_at_) return;
  const auto stub = api::AttachmentControl::NewStub(session.channel);
  api::ListAttachmentsReply reply;
  const grpc::Status status = calls().run(session, [&](grpc::ClientContext& context) {
    return stub->List(&context, api::ListAttachmentsRequest(), &reply);
  });
  if (!status.ok()) {
    call_at_ = monotonic_now() + call_back_off_.next();
    if (!is_lost(status)) log_.warn("cannot list the data plane's attachments: " + status.error_message());
    return;
  }
  for (const std::string& name : reply.descriptors_held()) {
    const auto found = by_name_.find(name);
    if (found != by_name_.end() && found->second.queue) {
      found->second.given = true;  // the data plane we talked to before
      found->second.up = is_port(name);
      continue;
    }
    auto queue = descriptors_.take(name);
    if (!queue) {
      log_.warn(name + ": the data plane did not give its queue back: " + queue.error());
    } else if (found != by_name_.end()) {
      found->second.queue = std::move(*queue);
      found->second.given = true;
      found->second.up = is_port(name);
    } else if (!is_port(name)) {
      unwanted_.emplace_back(name, std::move(*queue));  // left the configuration while no agent ran
    }
  }
  joined_ = true;
  call_back_off_.reset();
}

void LinkKeeper::check_states(const Session& session) {
  {
    const std::lock_guard lock(inbox_mutex_);
    if (!std::exchange(states_changed_, false)) return;
  }
  const auto stub = api::AttachmentControl::NewStub(session.channel);
  api::ListAttachmentsReply reply;
  const grpc::Status status = calls().run(session, [&](grpc::ClientContext& context) {
    return stub->List(&context, api::ListAttachmentsRequest(), &reply);
  });
  if (!status.ok())
    return;  // a session that goes on is told of everything again by the next event, a new one by join()
  const std::set<std::string> held(reply.descriptors_held().begin(), reply.descriptors_held().end());
  std::map<std::string, std::string> down;
  for (const api::AttachmentState& state : reply.states()) {
    if (!state.up()) down[state.attachment().id()] = state.error();
  }
  for (auto& [name, link] : by_name_) {
    if (!link.up) continue;
    const auto found = down.find(name);
    if (found == down.end() && held.contains(name)) continue;
    log_.warn(name + ": went down in the data plane: " + (found == down.end() ? "its queue is gone" : found->second));
    link.given = link.up = false;
  }
}

void LinkKeeper::take_away(Link& link) {
  link.queue.reset();
  link.made.reset();
  link.given = link.up = false;
}

void LinkKeeper::look_at(Link& link) {
  if (!link.made) return;
  const node::LinkSpec& spec = link.wanted.spec;
  if (links_.namespace_at(spec.netns) != link.space) {
    log_.warn(spec.name + ": the network namespace " + spec.netns + " is gone, the link is withdrawn");
    take_away(link);
  } else if (!links_.alive(link.queue.get())) {
    log_.warn(spec.name + ": somebody removed device " + spec.interface + " in " + spec.netns + ", it is made again");
    take_away(link);
  }
}

void LinkKeeper::make(Link& link) {
  if (link.made || monotonic_now() < link.retry_at) return;
  const node::LinkSpec& spec = link.wanted.spec;
  const auto space = links_.namespace_at(spec.netns);
  if (!space) {
    take_away(link);
    if (!std::exchange(link.waiting_told, true)) {
      log_.info(spec.name + ": waits for the network namespace " + spec.netns);
    }
    return;
  }
  link.waiting_told = false;
  const auto opened = links_.make(spec, link.queue);
  if (!opened) {
    // A queue that is still there goes on working with the settings it has.
    if (!link.queue) take_away(link);
    failed(link, opened.error());
    return;
  }
  link.made = link.wanted;
  link.space = *space;
  if (*opened) link.given = link.up = false;
  link.back_off.reset();
  log_.info(spec.name + ": device " + spec.interface + " in " + spec.netns + " is ready");
}

void LinkKeeper::give(Link& link) {
  if (!link.made || link.given || monotonic_now() < link.retry_at) return;
  const std::string& name = link.wanted.spec.name;
  if (auto given = descriptors_.give(name, link.queue.get()); !given) {
    failed(link, name + ": the data plane did not take its queue: " + given.error());
    return;
  }
  link.given = true;
  if (!is_port(name)) return;
  link.up = true;
  link.last_failure.clear();
  link.back_off.reset();
  log_.info(name + ": handed to the data plane");
}

void LinkKeeper::reconcile(const Session& session) {
  api::Attachments set;
  for (const auto& [name, link] : by_name_) {
    if (link.given && !is_port(name)) *set.add_attachments() = attachment_of(link.wanted);
  }
  const std::string serialised = set.SerializeAsString();
  if (told_ == serialised || monotonic_now() < call_at_) return;
  const auto stub = api::AttachmentControl::NewStub(session.channel);
  api::AttachmentStates reply;
  const grpc::Status status =
      calls().run(session, [&](grpc::ClientContext& context) { return stub->Reconcile(&context, set, &reply); });
  if (!status.ok()) {
    call_at_ = monotonic_now() + call_back_off_.next();
    if (!is_lost(status)) log_.warn("the data plane did not take the attachments: " + status.error_message());
    return;
  }
  call_back_off_.reset();
  told_ = serialised;
  for (const api::AttachmentState& state : reply.states()) {
    const auto found = by_name_.find(state.attachment().id());
    if (found == by_name_.end()) continue;
    Link& link = found->second;
    if (!state.up()) {
      link.given = link.up = false;  // it is handed over and asked for again, after a while
      failed(link, found->first + ": not attached: " + state.error());
    } else if (!std::exchange(link.up, true)) {
      link.last_failure.clear();
      link.back_off.reset();
      log_.info(found->first + ": attached as " + link.wanted.workload);
    }
  }
}

void LinkKeeper::remove_unwanted() {
  for (auto& [name, queue] : std::exchange(unwanted_, {})) {
    if (auto removed = links_.remove(queue.get()); !removed) {
      log_.error(name + ": its device could not be removed: " + removed.error());
    } else {
      log_.info(name + ": removed with its device, it left the configuration");
    }
  }
}

void LinkKeeper::failed(Link& link, const std::string& sentence) {
  link.retry_at = monotonic_now() + link.back_off.next();
  if (sentence == link.last_failure) return;
  link.last_failure = sentence;
  log_.error(sentence);
}

}  // namespace culvert::southbound
