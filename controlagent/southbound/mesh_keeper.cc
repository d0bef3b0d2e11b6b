#include "southbound/mesh_keeper.h"

#include <array>

#include "southbound/convert.h"

namespace culvert::southbound {
namespace {

// Well below kMessageBytesMax, so that the record that fills a chunk always fits.
constexpr size_t kChunkBytes = 512 * 1024;

// A change on its own is pushed at once. Those of a busy mesh share transactions, since each publication makes every
// worker look at its live streams again.
constexpr Duration kBetweenPushes = 5ms;

// Changes are told at most this often, in sums.
constexpr Duration kTellEvery = 1s;

// A mesh whose every record is refused is one mistake, not a thousand lines.
constexpr int kRejectionsLogged = 20;

// From a single change on an idle node to a first sync of the largest mesh.
constexpr std::array kPushBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0};

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

bool send(MeshStream& stream, const reconcile::MeshDelta& delta, const std::string& version, bool full) {
  api::MeshUpdate begin;
  begin.mutable_begin()->set_version(version);
  begin.mutable_begin()->set_full(full);
  if (!stream.write(begin)) return false;
  Chunks chunks(stream);
  using Chunk = api::MeshChunk;
  const bool sent = chunks.add_all(delta.policies, [](Chunk& c, const auto& r) {
    return put(c.add_policies(), to_api(*r));
  }) && chunks.add_all(delta.services, [](Chunk& c, const auto& r) {
    return put(c.add_services(), to_api(*r));
  }) && chunks.add_all(delta.workloads, [](Chunk& c, const auto& r) {
    return put(c.add_workloads(), to_api(*r));
  }) && chunks.add_all(delta.removed_policies, [](Chunk& c, const std::string& name) {
    c.add_removed_policies(name);
    return name.size();
  }) && chunks.add_all(delta.removed_services, [](Chunk& c, const std::string& name) {
    c.add_removed_services(name);
    return name.size();
  }) && chunks.add_all(delta.removed_workloads, [](Chunk& c, const std::string& name) {
    c.add_removed_workloads(name);
    return name.size();
  }) && chunks.flush();
  api::MeshUpdate end;
  end.mutable_end();
  return sent && stream.write(end);
}

}  // namespace

MeshKeeper::MeshKeeper(reconcile::MeshStore& mesh, Duration retry_max, log::Log& log)
    : mesh_(mesh), feed_(mesh), log_(log), back_off_(retry_max) {
  push_seconds_.bounds = {kPushBounds.begin(), kPushBounds.end()};
  push_seconds_.counts.resize(kPushBounds.size() + 1);
}

Histogram MeshKeeper::push_seconds() const {
  const std::lock_guard lock(push_mutex_);
  return push_seconds_;
}

Instant MeshKeeper::turn(const SessionPtr& session, Instant now) {
  if (session == nullptr || session->number != session_number_) {
    stream_.reset();
    synced_ = false;
    back_off_.reset();
    session_number_ = session == nullptr ? 0 : session->number;
  }
  if (session == nullptr || !mesh_.is_known()) return kNever;
  if (now < next_push_) return next_push_;
  const bool full = !synced_;
  const reconcile::MeshDelta delta = full ? feed_.take_all() : feed_.take();
  if (delta.empty() && !full) {
    tell_changes(now);
    return untold_records_ == 0 ? kNever : last_told_ + kTellEvery;
  }
  next_push_ = now + kBetweenPushes;
  if (push(*session, delta, full)) {
    synced_ = true;
    const std::lock_guard lock(push_mutex_);
    push_seconds_.add(std::chrono::duration<double>(monotonic_now() - now).count());
    back_off_.reset();
    last_failure_.clear();
    return next_push_;  // there may be changes already
  }
  stream_.reset();
  synced_ = false;
  return monotonic_now() + back_off_.next();
}

bool MeshKeeper::push(const Session& session, const reconcile::MeshDelta& delta, bool full) {
  if (stream_ == nullptr) stream_ = std::make_unique<MeshStream>(session, calls());
  const std::string version = session.instance.substr(0, 8) + "/" + std::to_string(transactions_ + 1);
  api::MeshAck ack;
  if (!send(*stream_, delta, version, full) || !stream_->read(&ack)) {
    const grpc::Status status = stream_->status();
    const std::string sentence = "the mesh was not taken, trying again: " + status.error_message();
    if (!is_lost(status) && sentence != last_failure_) log_.warn(sentence);
    if (!is_lost(status)) last_failure_ = sentence;
    return false;
  }
  transactions_++;
  records_ += delta.size();
  tell_rejections(ack);
  untold_records_ += delta.size();
  untold_ack_ = std::move(ack);
  if (full) {
    log_.info("mesh sent in full: " + in_force());
    last_told_ = monotonic_now();
    untold_records_ = 0;
  } else {
    tell_changes(monotonic_now());
  }
  return true;
}

void MeshKeeper::tell_changes(Instant now) {
  if (untold_records_ == 0 || now < last_told_ + kTellEvery) return;
  log_.info("mesh changed: " + in_force());
  last_told_ = now;
  untold_records_ = 0;
}

std::string MeshKeeper::in_force() const {
  return std::to_string(untold_records_) + " records sent; in force " + std::to_string(untold_ack_.workloads()) +
         " workloads, " + std::to_string(untold_ack_.services()) + " services, " +
         std::to_string(untold_ack_.policies()) + " policies (snapshot " +
         std::to_string(untold_ack_.snapshot_version()) + ")";
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
