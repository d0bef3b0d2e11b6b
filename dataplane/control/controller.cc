#include "control/controller.h"

#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "base/check.h"
#include "control/api/contract.h"

namespace culvert::control {

namespace {
constexpr Duration kWorkersWatchedEvery = 1s;
// A heartbeat is at hand in a worker that lives: this only bounds what a silent one costs the control thread.
constexpr Duration kHeartbeatPatience = 50ms;
}  // namespace

std::string make_instance() {
  uint8_t random[16];
  size_t have = 0;
  while (have < sizeof(random)) {
    const ssize_t n = ::getrandom(random + have, sizeof(random) - have, 0);
    DP_CHECK(n > 0 || errno == EINTR);
    if (n > 0) have += static_cast<size_t>(n);
  }
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const uint8_t byte : random) {
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

Controller::Controller(ControllerOptions options, NodeFace& node, worker::Clock& clock)
    : options_(std::move(options)),
      node_(node),
      clock_(clock),
      started_(clock.now()),
      attachments_(node, descriptors_),
      certificates_(options_.instance),
      board_(options_.events_max ? options_.events_max : api::kEventsQueuedMax),
      workers_watched_(started_) {
  node_.publish(feed_.mesh());
  after_change();
}

void Controller::after_change() {
  if (attachments_.take_changed()) {
    std::set<identity::SpiffeId> attached;
    for (const AttachmentState& state : attachments_.states()) {
      const std::string& workload = state.attachment.spec.workload;
      const size_t slash = workload.find('/');
      if (!state.up || slash == std::string::npos) continue;
      const std::string_view all(workload);
      const snapshot::Workload* record =
          feed_.mesh()->local_workload(all.substr(0, slash), all.substr(slash + 1), options_.node);
      if (record) attached.insert(record->identity());
    }
    certificates_.set_attached(std::move(attached), clock_.calendar());
  }
  if (auto map = certificates_.take_changed()) node_.publish(std::move(map));
  for (Event& event : attachments_.take_events()) board_.put(std::move(event));
  for (Event& event : certificates_.take_events()) {
    notice_certificate(event);
    board_.put(std::move(event));
  }
}

Result<void, std::string> Controller::begin_mesh(uint64_t stream, std::string version, bool full) {
  return feed_.begin(stream, std::move(version), full);
}

Result<void, std::string> Controller::apply_mesh(uint64_t stream, MeshRecords records) {
  return feed_.apply(stream, std::move(records));
}

Result<MeshApplied, std::string> Controller::end_mesh(uint64_t stream) {
  const std::shared_ptr<const snapshot::Mesh> before = feed_.mesh();
  Result<MeshApplied, std::string> applied = feed_.end(stream);
  mesh_seen_ = mesh_seen_ || applied.ok();
  if (!applied || applied->mesh == before) return applied;
  node_.publish(applied->mesh);
  // Attached workloads may have got, lost or changed their records.
  attachments_.set_changed();
  after_change();
  return applied;
}

Result<CertificateStore::Csr, std::string> Controller::create_csr(const identity::SpiffeId& id) {
  return certificates_.create_csr(id);
}

Result<CertificateRow, std::string> Controller::install(std::string_view csr_id, std::string_view chain_pem,
                                                        std::string_view roots_pem) {
  auto installed = certificates_.install(csr_id, chain_pem, roots_pem, clock_.calendar());
  after_change();
  return installed;
}

bool Controller::forget(const identity::SpiffeId& id) {
  const bool found = certificates_.forget(id);
  attachments_.set_changed();
  after_change();
  return found;
}

std::vector<CertificateRow> Controller::certificates(bool pem) const {
  return certificates_.rows(clock_.calendar(), pem);
}

Result<CrlReport, std::string> Controller::set_crls(const std::vector<std::string_view>& files) {
  auto set = identity::CrlSet::parse(files);
  if (!set) return Failure{set.error()};
  crls_ = *set;
  crls_set_at_ = clock_.calendar();
  node_.publish(std::move(*set));
  notice("certificate revocation: " + std::to_string(crls_->lists()) + " lists with " +
         std::to_string(crls_->entries()) + " entries are in force");
  return crls();
}

CrlReport Controller::crls() const {
  CrlReport report;
  report.set_at = crls_set_at_;
  if (!crls_) return report;
  report.lists = crls_->lists();
  report.entries = crls_->entries();
  report.next_update = crls_->soonest_next_update();
  return report;
}

LifecycleReport Controller::drain(std::optional<Duration> deadline) {
  const Duration wait = mesh_seen_ ? deadline.value_or(options_.drain_deadline) : Duration{};
  const Instant due = clock_.now() + wait;
  const bool first = !drain_due_;
  if (first || due < *drain_due_) drain_due_ = due;
  node_.drain(wait);
  if (first) {
    notice(mesh_seen_ ? "draining: what is open goes on for at most " + std::to_string(to_ms(wait)) + " ms"
                      : std::string("ending at once: no mesh has come yet"));
    if (options_.drain_begun) options_.drain_begun();
  }
  return lifecycle();
}

LifecycleReport Controller::lifecycle() {
  LifecycleReport report;
  const worker::StatusRow status = node_.status(kHeartbeatPatience);
  report.sessions = status.sessions;
  report.tunnels = status.tunnels;
  report.draining = drain_due_.has_value();
  if (drain_due_) report.left = std::max(*drain_due_ - clock_.now(), Duration{});
  return report;
}

void Controller::notice(const std::string& line) const {
  if (options_.notice) options_.notice(line);
}

void Controller::notice_certificate(const Event& event) const {
  if (event.kind == Event::Kind::kCertificateLate) {
    const auto left = event.not_after - event.at;
    notice("certificate of " + event.name + " ends in " + std::to_string(left.count()) +
           " s and no new one has come: its traffic will be refused then");
  } else if (event.kind == Event::Kind::kCertificateExpired) {
    notice("certificate of " + event.name + " has expired: its new connections are refused until a new one comes");
  }
}

std::vector<AttachmentState> Controller::reconcile(const std::vector<WantedAttachment>& wanted) {
  std::vector<AttachmentState> states = attachments_.reconcile(wanted, clock_.calendar());
  after_change();
  return states;
}

AttachmentState Controller::attach(const WantedAttachment& wanted) {
  AttachmentState state = attachments_.attach(wanted, clock_.calendar());
  after_change();
  return state;
}

bool Controller::detach(std::string_view id) {
  const bool found = attachments_.detach(id, clock_.calendar());
  after_change();
  return found;
}

Result<void, std::string> Controller::give_descriptors(const std::string& name, std::vector<UniqueFd> queues) {
  if (!name.starts_with(api::kPortNamePrefix)) return descriptors_.give(name, std::move(queues));
  const std::string port = name.substr(api::kPortNamePrefix.size());
  if (!descriptors_.in_use(name)) {
    const std::vector<std::string> wanted = node_.ports_wanted();
    if (std::find(wanted.begin(), wanted.end(), port) == wanted.end()) {
      return "no port `" + port + "` of culvert.yaml waits for descriptors";
    }
  }
  const Result<void, std::string> given = descriptors_.give(name, std::move(queues));
  if (!given) return given;
  Result<std::vector<UniqueFd>, std::string> copies = descriptors_.copies(name);
  if (!copies) return copies.error();
  const Result<void, std::string> opened = node_.open_port(port, std::move(*copies));
  if (!opened) {
    descriptors_.close(name);
    return opened;
  }
  descriptors_.set_in_use(name, true);
  return {};
}

Result<std::vector<UniqueFd>, std::string> Controller::take_descriptors(std::string_view name) const {
  return descriptors_.copies(name);
}

Result<void, std::string> Controller::release_descriptors(std::string_view name) {
  if (descriptors_.in_use(name)) return "`" + std::string(name) + "` is in use: detach it first";
  descriptors_.close(name);
  return {};
}

std::vector<std::string> Controller::descriptors_wanted() const {
  std::vector<std::string> out;
  for (const std::string& port : node_.ports_wanted()) out.push_back(std::string(api::kPortNamePrefix) + port);
  std::sort(out.begin(), out.end());
  return out;
}

StatusReport Controller::status() {
  StatusReport out;
  out.node = node_.status(kPatience);
  out.uptime = clock_.now() - started_;
  out.mesh_version = feed_.version();
  out.identities_valid = certificates_.valid();
  out.agent_connected = feed_.stream_open();
  out.descriptors_wanted = descriptors_wanted();
  return out;
}

Controller::Present Controller::present() const {
  Present out;
  const UnixTime now = clock_.calendar();
  for (const std::string& name : descriptors_wanted()) {
    Event event;
    event.kind = Event::Kind::kDescriptorWanted;
    event.name = name;
    out.events.push_back(std::move(event));
  }
  for (Event& event : certificates_.present(now)) out.events.push_back(std::move(event));
  for (uint32_t i = 0; i < silent_.size(); ++i) {
    if (!silent_[i]) continue;
    Event event;
    event.kind = Event::Kind::kWorkerSilent;
    event.worker = i;
    event.silence = silence_[i];
    out.events.push_back(std::move(event));
  }
  for (Event& event : out.events) event.at = now;
  out.sequence = board_.latest();
  return out;
}

void Controller::tick() {
  const UnixTime now = clock_.calendar();
  attachments_.tick(now);
  certificates_.tick(now);
  after_change();
  if (clock_.now() - workers_watched_ >= kWorkersWatchedEvery) {
    workers_watched_ = clock_.now();
    watch_workers();
  }
}

void Controller::watch_workers() {
  silence_ = node_.status(kHeartbeatPatience).worker_silence;
  silent_.resize(silence_.size());
  for (uint32_t i = 0; i < silence_.size(); ++i) {
    const bool silent = silence_[i] >= kWorkerSilence;
    if (silent == silent_[i]) continue;
    silent_[i] = silent;
    Event event;
    event.kind = silent ? Event::Kind::kWorkerSilent : Event::Kind::kWorkerBack;
    event.at = clock_.calendar();
    event.worker = i;
    event.silence = silence_[i];
    board_.put(std::move(event));
  }
}

}  // namespace culvert::control
