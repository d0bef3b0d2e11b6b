// The event stream: first what is so now, then what happens.
#include "control/api/events.grpc.pb.h"
#include "control/service_status.h"

namespace culvert::control {

namespace {

constexpr size_t kEventsPerTurn = 64;
// A watcher that went away is noticed at the latest after this.
constexpr Duration kPatience = 500ms;

int64_t milliseconds(UnixTime at) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(at.time_since_epoch()).count();
}

api::Event convert(const Event& event) {
  using Kind = Event::Kind;
  using Why = api::Event::Certificate;
  api::Event out;
  out.set_sequence(event.sequence);
  out.set_at_ms(milliseconds(event.at));
  const auto certificate = [&](Why::Why why) {
    out.mutable_certificate()->set_identity(event.name);
    out.mutable_certificate()->set_why(why);
    out.mutable_certificate()->set_not_after_ms(milliseconds(event.not_after));
  };
  switch (event.kind) {
    case Kind::kAttachmentUp:
    case Kind::kAttachmentDown:
      out.mutable_attachment()->set_id(event.name);
      out.mutable_attachment()->set_up(event.kind == Kind::kAttachmentUp);
      out.mutable_attachment()->set_reason(event.text);
      break;
    case Kind::kCertificateNeeded:
      certificate(Why::NEEDED);
      break;
    case Kind::kCertificateExpiring:
      certificate(Why::EXPIRING);
      break;
    case Kind::kCertificateLate:
      certificate(Why::LATE);
      break;
    case Kind::kCertificateExpired:
      certificate(Why::EXPIRED);
      break;
    case Kind::kDescriptorWanted:
      out.mutable_wanted()->set_name(event.name);
      break;
    case Kind::kWorkerSilent:
    case Kind::kWorkerBack:
      out.mutable_worker()->set_index(event.worker);
      out.mutable_worker()->set_silent(event.kind == Kind::kWorkerSilent);
      out.mutable_worker()->set_silent_ms(static_cast<uint64_t>(to_ms(event.silence)));
      break;
  }
  return out;
}

class EventService final : public api::Events::Service {
 public:
  explicit EventService(Desk& desk) : desk_(desk) {}

  grpc::Status Watch(grpc::ServerContext* context, const api::WatchRequest*,
                     grpc::ServerWriter<api::Event>* writer) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    if (desk_.watchers.fetch_add(1) >= kWatchersMax) {
      desk_.watchers.fetch_sub(1);
      return {grpc::StatusCode::RESOURCE_EXHAUSTED, std::to_string(kWatchersMax) + " watch the events already"};
    }
    const grpc::Status status = watch(*context, *writer);
    desk_.watchers.fetch_sub(1);
    return status;
  }

 private:
  grpc::Status watch(grpc::ServerContext& context, grpc::ServerWriter<api::Event>& writer) {
    const auto present = desk_.thread.call([&] { return desk_.controller.present(); });
    if (!present) return stopping();
    // The client learns that it is heard even when there is nothing to tell yet.
    writer.SendInitialMetadata();
    for (const Event& event : present->events) {
      if (!writer.Write(convert(event))) return grpc::Status::OK;
    }
    EventBoard& board = desk_.controller.board();
    uint64_t sequence = present->sequence;
    while (!context.IsCancelled()) {
      const std::vector<Event> events = board.after(sequence, kEventsPerTurn, kPatience);
      if (events.empty() && board.closed()) return stopping();
      for (const Event& event : events) {
        if (!writer.Write(convert(event))) return grpc::Status::OK;
        sequence = event.sequence;
      }
    }
    return grpc::Status::OK;
  }

  Desk& desk_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_event_service(Desk& desk) { return std::make_unique<EventService>(desk); }

}  // namespace culvert::control
