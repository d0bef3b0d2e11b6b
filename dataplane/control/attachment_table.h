// The attachments the agent wants, and what became of them. Brings the node's set in step with the wanted one, by id,
// and watches the devices behind it.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "control/descriptor_table.h"
#include "control/event_board.h"
#include "control/node_face.h"

namespace culvert::control {

struct AttachmentState {
  Attachment attachment;
  bool up = false;
  std::string error;  // why it is not up
};

// One attachment as it came in: what could be read, and why it is refused if it is.
struct WantedAttachment {
  Attachment attachment;
  std::string refused;  // empty: well formed
};

class AttachmentTable {
 public:
  // A node has a few hundred pods at most.
  static constexpr size_t kAttachmentsMax = 2048;

  // Both outlive the table.
  AttachmentTable(NodeFace& node, DescriptorTable& descriptors) : node_(node), descriptors_(descriptors) {}

  AttachmentState attach(const WantedAttachment& wanted, UnixTime now);
  bool detach(std::string_view id, UnixTime now);
  // Makes the set equal to the wanted one; one state per wanted one, in its order. What is wanted but refused keeps
  // what it has. Descriptors of attachments that are not wanted are closed.
  std::vector<AttachmentState> reconcile(const std::vector<WantedAttachment>& wanted, UnixTime now);
  // Detaches what lost its device, so that the peers of its connections see resets instead of silence (D23).
  void tick(UnixTime now);

  std::vector<AttachmentState> states() const;  // by id
  std::vector<Event> take_events();
  // True when attachments came, went or changed since the last call.
  bool take_changed();
  // What the attachments' records say may have changed.
  void set_changed() { changed_ = true; }

 private:
  std::string refusal(const Attachment& attachment) const;
  void take_down(AttachmentState& state, std::string reason, UnixTime now);

  NodeFace& node_;
  DescriptorTable& descriptors_;
  std::map<std::string, AttachmentState, std::less<>> states_;
  std::vector<Event> events_;
  bool changed_ = false;
};

}  // namespace culvert::control
