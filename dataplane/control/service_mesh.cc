// The mesh stream: transactions in, acknowledgements out. One message is in memory at a time.
#include "control/api/mesh.grpc.pb.h"
#include "control/convert_mesh.h"
#include "control/service_status.h"

namespace culvert::control {

namespace {

using Stream = grpc::ServerReaderWriter<api::MeshAck, api::MeshUpdate>;

api::MeshAck ack_of(const MeshApplied& applied) {
  api::MeshAck out;
  out.set_version(applied.version);
  out.set_snapshot_version(applied.mesh->version());
  out.set_workloads(static_cast<uint32_t>(applied.mesh->workload_count()));
  out.set_services(static_cast<uint32_t>(applied.mesh->service_count()));
  out.set_policies(static_cast<uint32_t>(applied.mesh->policy_count()));
  for (const Rejection& rejection : applied.rejections) {
    api::Rejection& one = *out.add_rejections();
    one.set_kind(rejection.kind);
    one.set_name(rejection.name);
    one.set_field(rejection.field);
    one.set_reason(rejection.reason);
  }
  out.set_rejections_left_out(applied.rejections_left_out);
  return out;
}

// Registers the stream as the one in force, and ends the one before it, for as long as it lives.
class Registration {
 public:
  Registration(Desk& desk, grpc::ServerContext& context) : desk_(desk), context_(context) {
    const std::lock_guard lock(desk_.stream_mutex);
    if (desk_.stream) desk_.stream->TryCancel();
    desk_.stream = &context_;
  }
  ~Registration() {
    const std::lock_guard lock(desk_.stream_mutex);
    if (desk_.stream == &context_) desk_.stream = nullptr;
  }
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;

 private:
  Desk& desk_;
  grpc::ServerContext& context_;
};

class MeshService final : public api::Mesh::Service {
 public:
  explicit MeshService(Desk& desk) : desk_(desk) {}

  grpc::Status Push(grpc::ServerContext* context, Stream* stream) override {
    if (const grpc::Status checked = check_contract(desk_, *context); !checked.ok()) return checked;
    const Registration registration(desk_, *context);
    const std::optional<uint64_t> id = desk_.thread.call([&] { return desk_.controller.open_mesh_stream(); });
    if (!id) return stopping();
    desk_.notice("the agent opened a mesh stream");
    const grpc::Status status = transactions(*stream, *id);
    desk_.thread.call([&] {
      desk_.controller.close_mesh_stream(*id);
      return true;
    });
    desk_.notice("the mesh stream ended" + (status.ok() ? std::string() : ": " + status.error_message()));
    return status;
  }

 private:
  grpc::Status transactions(Stream& stream, uint64_t id) {
    api::MeshUpdate update;
    while (stream.Read(&update)) {
      std::optional<Result<void, std::string>> done;
      switch (update.step_case()) {
        case api::MeshUpdate::kBegin:
          done = desk_.thread.call(
              [&] { return desk_.controller.begin_mesh(id, update.begin().version(), update.begin().full()); });
          break;
        case api::MeshUpdate::kChunk: {
          MeshRecords records = convert(update.chunk());
          done = desk_.thread.call([&] { return desk_.controller.apply_mesh(id, std::move(records)); });
          break;
        }
        case api::MeshUpdate::kEnd: {
          auto applied = desk_.thread.call([&] { return desk_.controller.end_mesh(id); });
          if (!applied) return stopping();
          if (!*applied) return invalid(applied->error());
          const MeshApplied& state = **applied;
          const uint64_t refused = state.rejections.size() + state.rejections_left_out;
          if (refused > 0) {
            const Rejection& first = state.rejections.front();
            desk_.notice("mesh " + state.version + ": " + std::to_string(refused) + " records are refused, first " +
                         first.kind + " " + first.name + ": " + first.field + ": " + first.reason);
          }
          if (!stream.Write(ack_of(state))) return grpc::Status::OK;
          continue;
        }
        case api::MeshUpdate::STEP_NOT_SET:
          return invalid("an update without begin, chunk or end");
      }
      if (!done) return stopping();
      if (!*done) return invalid(done->error());
    }
    return grpc::Status::OK;
  }

  Desk& desk_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_mesh_service(Desk& desk) { return std::make_unique<MeshService>(desk); }

}  // namespace culvert::control
