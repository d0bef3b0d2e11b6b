#include "southbound/mesh_keeper.h"

#include "southbound/convert.h"

namespace culvert::southbound {
namespace {

// Well below kMessageBytesMax, so that the record that fills a chunk always fits.
constexpr size_t kChunkBytes = 512 * 1024;

// A mesh whose every record is refused is one mistake, not a thousand lines.
constexpr int kRejectionsLogged = 20;

// Collects records and sends them chunk by chunk.
class Chunks {
 public:
  explicit Chunks(MeshStream& stream) : stream_(stream) {}

  template <class Records, class Put>
  bool add_all(const Records& records, Put put) {
    for (const auto& record : records) {
      bytes_ += put(*update_.mutable_chunk(), record);
      if (bytes_ >= kChunkBytes && !flush()) return false;
    }
    return true;
  }

  bool flush() {
    if (!update_.has_chunk()) return true;
    const bool sent = stream_.write(update_);
    update_.Clear();
    bytes_ = 0;
    return sent;
  }

 private:
  MeshStream& stream_;
  api::MeshUpdate update_;
  size_t bytes_ = 0;
};

template <class Message>
size_t put(Message* into, Message message) {
  *into = std::move(message);
  return into->ByteSizeLong();
}

bool send(MeshStream& stream, const reconcile::MeshDifference& difference, const std::string& version, bool full) {
  api::MeshUpdate begin;
  begin.mutable_begin()->set_version(version);
  begin.mutable_begin()->set_full(full);
  if (!stream.write(begin)) return false;
  Chunks chunks(stream);
  using Chunk = api::MeshChunk;
  const bool sent = chunks.add_all(difference.policies, [](Chunk& c, const auto* r) {
    return put(c.add_policies(), to_api(*r));
  }) && chunks.add_all(difference.services, [](Chunk& c, const auto* r) {
    return put(c.add_services(), to_api(*r));
  }) && chunks.add_all(difference.workloads, [](Chunk& c, const auto* r) {
    return put(c.add_workloads(), to_api(*r));
  }) && chunks.add_all(difference.removed_policies, [](Chunk& c, const std::string& name) {
    c.add_removed_policies(name);
    return name.size();
  }) && chunks.add_all(difference.removed_services, [](Chunk& c, const std::string& name) {
    c.add_removed_services(name);
    return name.size();
  }) && chunks.add_all(difference.removed_workloads, [](Chunk& c, const std::string& name) {
    c.add_removed_workloads(name);
    return name.size();
  }) && chunks.flush();
  api::MeshUpdate end;
  end.mutable_end();
  return sent && stream.write(end);
}

}  // namespace

void MeshKeeper::set_mesh(std::shared_ptr<const reconcile::Mesh> mesh) {
  {
    const std::lock_guard lock(desired_mutex_);
    desired_ = std::move(mesh);
  }
  wake();
}

Instant MeshKeeper::turn(const SessionPtr& session, Instant now) {
  if (session == nullptr || session->number != session_number_) {
    stream_.reset();
    known_.reset();
    back_off_.reset();
    session_number_ = session == nullptr ? 0 : session->number;
  }
  std::shared_ptr<const reconcile::Mesh> desired;
  {
    const std::lock_guard lock(desired_mutex_);
    desired = desired_;
  }
  if (session == nullptr || desired == nullptr || desired == known_) return kNever;
  if (push(*session, *desired, known_ == nullptr)) {
    known_ = std::move(desired);
    back_off_.reset();
    last_failure_.clear();
    return now;  // there may be a newer one already
  }
  stream_.reset();
  known_.reset();
  return monotonic_now() + back_off_.next();
}

bool MeshKeeper::push(const Session& session, const reconcile::Mesh& mesh, bool full) {
  static const reconcile::Mesh kNothing;
  const reconcile::MeshDifference difference = reconcile::difference(mesh, full ? kNothing : *known_);
  if (difference.empty() && !full) return true;
  if (stream_ == nullptr) stream_ = std::make_unique<MeshStream>(session, calls());
  const std::string version = session.instance.substr(0, 8) + "/" + std::to_string(transactions_ + 1);
  api::MeshAck ack;
  if (!send(*stream_, difference, version, full) || !stream_->read(&ack)) {
    const grpc::Status status = stream_->status();
    const std::string sentence = "the mesh was not taken, trying again: " + status.error_message();
    if (!is_lost(status) && sentence != last_failure_) log_.warn(sentence);
    if (!is_lost(status)) last_failure_ = sentence;
    return false;
  }
  transactions_++;
  records_ += difference.size();
  log_.info(std::string(full ? "mesh sent in full: " : "mesh changed: ") + std::to_string(difference.size()) +
            " records sent; in force " + std::to_string(ack.workloads()) + " workloads, " +
            std::to_string(ack.services()) + " services, " + std::to_string(ack.policies()) + " policies (snapshot " +
            std::to_string(ack.snapshot_version()) + ")");
  tell_rejections(ack);
  return true;
}

void MeshKeeper::tell_rejections(const api::MeshAck& ack) {
  int logged = 0;
  for (const api::Rejection& rejection : ack.rejections()) {
    if (logged++ == kRejectionsLogged) break;
    log_.error("the data plane refused " + rejection.kind() + " `" + rejection.name() + "`: " + rejection.field() +
               ": " + rejection.reason());
  }
  const uint64_t all = static_cast<uint64_t>(ack.rejections_size()) + ack.rejections_left_out();
  if (all > kRejectionsLogged) {
    log_.error("the data plane refused " + std::to_string(all - kRejectionsLogged) + " more records");
  }
}

}  // namespace culvert::southbound
