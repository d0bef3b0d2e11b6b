#include "control/attachment_table.h"

#include <algorithm>
#include <set>

namespace culvert::control {

std::string AttachmentTable::refusal(const Attachment& attachment) const {
  for (const auto& [id, other] : states_) {
    if (id == attachment.spec.id || !other.up) continue;
    for (const IpAddress& address : attachment.spec.addresses) {
      const auto& taken = other.attachment.spec.addresses;
      if (std::find(taken.begin(), taken.end(), address) != taken.end()) {
        return "address " + address.to_string() + " belongs to attachment `" + id + "`";
      }
    }
  }
  if (!states_.contains(attachment.spec.id) && states_.size() >= kAttachmentsMax) {
    return std::to_string(kAttachmentsMax) + " attachments exist already";
  }
  return {};
}

void AttachmentTable::take_down(AttachmentState& state, std::string reason, UnixTime now) {
  const std::string& id = state.attachment.spec.id;
  node_.detach(id);
  descriptors_.set_in_use(id, false);
  state.up = false;
  state.error = reason;
  changed_ = true;
  Event event;
  event.kind = Event::Kind::kAttachmentDown;
  event.at = now;
  event.name = id;
  event.text = std::move(reason);
  events_.push_back(std::move(event));
}

AttachmentState AttachmentTable::attach(const WantedAttachment& wanted, UnixTime now) {
  AttachmentState refused{wanted.attachment, false, wanted.refused};
  if (!refused.error.empty()) return refused;
  const std::string& id = wanted.attachment.spec.id;
  const auto present = states_.find(id);
  if (present != states_.end() && present->second.up && present->second.attachment == wanted.attachment) {
    return present->second;
  }
  refused.error = refusal(wanted.attachment);
  if (!refused.error.empty()) return refused;

  AttachmentState& state = states_[id];
  if (state.up) take_down(state, "its values changed", now);
  state.attachment = wanted.attachment;
  state.up = false;
  if (!descriptors_.holds(id)) {
    state.error = "no descriptor was given for `" + id + "`: hand it over on the descriptor socket first";
    return state;
  }
  Result<std::vector<UniqueFd>, std::string> queues = descriptors_.copies(id);
  if (!queues) {
    state.error = queues.error();
    return state;
  }
  const Result<void, std::string> attached = node_.attach(state.attachment, std::move(*queues));
  if (!attached) {
    state.error = attached.error();
    return state;
  }
  descriptors_.set_in_use(id, true);
  state.up = true;
  state.error.clear();
  changed_ = true;
  Event event;
  event.kind = Event::Kind::kAttachmentUp;
  event.at = now;
  event.name = id;
  events_.push_back(std::move(event));
  return state;
}

bool AttachmentTable::detach(std::string_view id, UnixTime now) {
  const auto found = states_.find(id);
  if (found == states_.end()) return false;
  if (found->second.up) take_down(found->second, "detached", now);
  states_.erase(found);
  descriptors_.close(id);
  return true;
}

std::vector<AttachmentState> AttachmentTable::reconcile(const std::vector<WantedAttachment>& wanted, UnixTime now) {
  std::set<std::string, std::less<>> named;
  for (const WantedAttachment& one : wanted) named.insert(one.attachment.spec.id);
  for (const AttachmentState& state : states()) {
    if (!named.contains(state.attachment.spec.id)) detach(state.attachment.spec.id, now);
  }
  for (const std::string& name : descriptors_.names()) {
    if (!named.contains(name) && !descriptors_.in_use(name)) descriptors_.close(name);
  }
  // Two attachments may have exchanged their addresses: what changes goes down before anything comes up.
  for (const WantedAttachment& one : wanted) {
    const auto present = states_.find(one.attachment.spec.id);
    if (present == states_.end() || !present->second.up || !one.refused.empty()) continue;
    if (!(present->second.attachment == one.attachment)) take_down(present->second, "its values changed", now);
  }
  std::vector<AttachmentState> out;
  std::set<std::string, std::less<>> done;
  for (WantedAttachment one : wanted) {
    const std::string& id = one.attachment.spec.id;
    if (one.refused.empty() && !done.insert(id).second) one.refused = "attachment `" + id + "` is named twice";
    out.push_back(attach(one, now));
  }
  return out;
}

void AttachmentTable::tick(UnixTime now) {
  for (auto& [id, state] : states_) {
    if (!state.up || !descriptors_.is_gone(id)) continue;
    take_down(state, "its device is gone", now);
    descriptors_.close(id);
  }
}

std::vector<AttachmentState> AttachmentTable::states() const {
  std::vector<AttachmentState> out;
  for (const auto& [id, state] : states_) out.push_back(state);
  return out;
}

std::vector<Event> AttachmentTable::take_events() {
  std::vector<Event> out;
  out.swap(events_);
  return out;
}

bool AttachmentTable::take_changed() { return std::exchange(changed_, false); }

}  // namespace culvert::control
