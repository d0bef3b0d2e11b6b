// Attachments over gRPC, and the packets of the descriptor socket, which speak of the same things.
#include "control/api/attachments.grpc.pb.h"
#include "control/api/contract.h"
#include "control/descriptor_door.h"
#include "control/service_status.h"

namespace culvert::control {

namespace {

constexpr int kAddressesMax = 16;
constexpr uint32_t kIpv4MtuMin = 576, kIpv6MtuMin = 1280;  // RFC 791 3.1, RFC 8200 5

bool is_plain(const std::string& text) {
  return !text.empty() && text.size() <= 255 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

std::string printable(std::string text) {
  if (text.size() > 255) text.resize(255);
  for (char& c : text) {
    if (c <= ' ' || c == 0x7f) c = '?';
  }
  return text;
}

// One list of addresses; the refusal is kept when it is the first.
template <class List>
std::vector<IpAddress> addresses_of(const List& in, const char* field, bool one_per_family, std::string& refused) {
  std::vector<IpAddress> out;
  if (in.size() > kAddressesMax && refused.empty()) {
    refused = std::string(field) + ": at most " + std::to_string(kAddressesMax) + " are accepted";
    return out;
  }
  for (int i = 0; i < in.size(); ++i) {
    const std::string where = std::string(field) + "[" + std::to_string(i) + "]: ";
    const std::optional<IpAddress> address = IpAddress::from_bytes(bytes_of(in[i]));
    if (!address) {
      if (refused.empty()) refused = where + "4 or 16 bytes are accepted, not " + std::to_string(in[i].size());
      continue;
    }
    if (address->is_unspecified() || address->is_multicast() || address->is_broadcast() || address->is_loopback()) {
      if (refused.empty())
        refused = where + "an address that one host can have is accepted, not " + address->to_string();
      continue;
    }
    for (const IpAddress& other : out) {
      const bool clash = one_per_family ? other.is_v4() == address->is_v4() : other == *address;
      if (clash && refused.empty()) {
        refused = where + (one_per_family ? "one per family is accepted" : address->to_string() + " is named twice");
      }
    }
    out.push_back(*address);
  }
  return out;
}

WantedAttachment convert(const api::Attachment& in) {
  WantedAttachment out;
  Attachment& attachment = out.attachment;
  attachment.spec.id = printable(in.id());
  attachment.spec.workload = printable(in.workload());
  attachment.interface = printable(in.interface());
  if (!is_plain(in.id()) || in.id().starts_with(api::kPortNamePrefix)) {
    out.refused = "id: 1 to 255 characters without blanks, not beginning with `port:`, are accepted";
  }
  const size_t slash = in.workload().find('/');
  const bool workload_good = is_plain(in.workload()) && slash != std::string::npos && slash > 0 &&
                             slash + 1 < in.workload().size() &&
                             in.workload().find('/', slash + 1) == std::string::npos;
  if (!workload_good && out.refused.empty()) out.refused = "workload: namespace/name is accepted";
  attachment.spec.addresses = addresses_of(in.addresses(), "addresses", false, out.refused);
  attachment.spec.gateways = addresses_of(in.gateways(), "gateways", true, out.refused);
  if (attachment.spec.addresses.empty() && out.refused.empty()) out.refused = "addresses: at least one is accepted";
  for (const IpAddress& gateway : attachment.spec.gateways) {
    for (const IpAddress& address : attachment.spec.addresses) {
      if (gateway == address && out.refused.empty()) {
        out.refused = "gateways: " + gateway.to_string() + " is the pod's own address";
      }
    }
  }
  const bool has_v6 = std::any_of(attachment.spec.addresses.begin(), attachment.spec.addresses.end(),
                                  [](const IpAddress& address) { return !address.is_v4(); });
  const uint32_t least = has_v6 ? kIpv6MtuMin : kIpv4MtuMin;
  if (in.mtu() < least || in.mtu() > 65'535) {
    if (out.refused.empty()) {
      out.refused = "mtu: " + std::to_string(least) + " to 65535 is accepted, not " + std::to_string(in.mtu());
    }
  } else {
    attachment.mtu = static_cast<uint16_t>(in.mtu());
  }
  return out;
}

void put(const AttachmentState& state, api::AttachmentState& out) {
  api::Attachment& attachment = *out.mutable_attachment();
  attachment.set_id(state.attachment.spec.id);
  attachment.set_workload(state.attachment.spec.workload);
  attachment.set_interface(state.attachment.interface);
  for (const IpAddress& address : state.attachment.spec.addresses) {
    attachment.add_addresses(std::string(text_of(address.wire())));
  }
  for (const IpAddress& gateway : state.attachment.spec.gateways) {
    attachment.add_gateways(std::string(text_of(gateway.wire())));
  }
  attachment.set_mtu(state.attachment.mtu);
  out.set_up(state.up);
  out.set_error(state.error);
}

class AttachmentService final : public api::AttachmentControl::Service {
 public:
  explicit AttachmentService(Desk& desk) : desk_(desk) {}

  grpc::Status Reconcile(grpc::ServerContext* context, const api::Attachments* request,
                         api::AttachmentStates* reply) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    std::vector<WantedAttachment> wanted;
    for (const api::Attachment& attachment : request->attachments()) wanted.push_back(convert(attachment));
    const auto states = desk_.thread.call([&] { return desk_.controller.reconcile(wanted); });
    if (!states) return stopping();
    for (const AttachmentState& state : *states) put(state, *reply->add_states());
    return grpc::Status::OK;
  }

  grpc::Status Attach(grpc::ServerContext* context, const api::Attachment* request,
                      api::AttachmentState* reply) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    const WantedAttachment wanted = convert(*request);
    const auto state = desk_.thread.call([&] { return desk_.controller.attach(wanted); });
    if (!state) return stopping();
    put(*state, *reply);
    return grpc::Status::OK;
  }

  grpc::Status Detach(grpc::ServerContext* context, const api::AttachmentId* request,
                      api::DetachReply* reply) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    const auto found = desk_.thread.call([&] { return desk_.controller.detach(request->id()); });
    if (!found) return stopping();
    reply->set_found(*found);
    return grpc::Status::OK;
  }

  grpc::Status List(grpc::ServerContext* context, const api::ListAttachmentsRequest*,
                    api::ListAttachmentsReply* reply) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    const auto done = desk_.thread.call([&] {
      for (const AttachmentState& state : desk_.controller.attachments()) put(state, *reply->add_states());
      for (const std::string& name : desk_.controller.descriptors_held()) reply->add_descriptors_held(name);
      for (const std::string& name : desk_.controller.descriptors_wanted()) reply->add_descriptors_wanted(name);
      return true;
    });
    return done ? grpc::Status::OK : stopping();
  }

 private:
  Desk& desk_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_attachment_service(Desk& desk) { return std::make_unique<AttachmentService>(desk); }

api::DescriptorPacket answer_descriptor_packet(Desk& desk, Result<api::DescriptorPacket, std::string> received) {
  api::DescriptorPacket out;
  api::DescriptorMessage answer;
  answer.set_kind(api::DescriptorMessage::OK);
  const auto refuse = [&](std::string sentence) {
    answer.set_kind(api::DescriptorMessage::REFUSED);
    answer.set_error(std::move(sentence));
  };
  const auto check = [&](std::optional<Result<void, std::string>> done) {
    if (!done) {
      refuse("the data plane is shutting down");
    } else if (!*done) {
      refuse(done->error());
    }
  };
  api::DescriptorMessage request;
  if (!received) {
    refuse(received.error());
  } else if (!request.ParseFromString(received->bytes)) {
    refuse("the packet is no DescriptorMessage");
  } else if (!is_plain(request.name())) {
    refuse("a name of 1 to 255 characters without blanks is accepted");
  } else if (request.kind() != api::DescriptorMessage::GIVE && !received->descriptors.empty()) {
    refuse("descriptors are accepted with GIVE only");
  } else {
    const std::string& name = request.name();
    switch (request.kind()) {
      case api::DescriptorMessage::GIVE:
        check(
            desk.thread.call([&] { return desk.controller.give_descriptors(name, std::move(received->descriptors)); }));
        break;
      case api::DescriptorMessage::RELEASE:
        check(desk.thread.call([&] { return desk.controller.release_descriptors(name); }));
        break;
      case api::DescriptorMessage::TAKE: {
        auto taken = desk.thread.call([&] { return desk.controller.take_descriptors(name); });
        if (!taken) {
          refuse("the data plane is shutting down");
        } else if (!*taken) {
          refuse(taken->error());
        } else {
          out.descriptors = std::move(**taken);
        }
        break;
      }
      default:
        refuse("GIVE, TAKE or RELEASE is accepted");
    }
    answer.set_name(name);
  }
  out.bytes = answer.SerializeAsString();
  return out;
}

}  // namespace culvert::control
