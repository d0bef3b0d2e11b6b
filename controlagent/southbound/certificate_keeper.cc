#include "southbound/certificate_keeper.h"

namespace culvert::southbound {
namespace {

using reconcile::CertificateRequest;
using reconcile::CertificateStatus;
using reconcile::Urgency;
using reconcile::WallClock;
using Stage = reconcile::CertificateMemory::Stage;

// The data plane tells what changes; this only bounds what a lost event costs.
constexpr Duration kLookEvery = 30s;

WallClock wall_clock() { return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now()); }
WallClock from_ms(int64_t ms) { return WallClock(std::chrono::milliseconds(ms)); }

std::string seconds_text(std::chrono::milliseconds span) {
  return std::to_string(std::chrono::duration_cast<std::chrono::seconds>(span).count()) + " s";
}

CertificateStatus status_of(const api::CertificateState& state) {
  return {.identity = state.identity(),
          .valid = state.state() == api::CertificateState::VALID,
          .attached = state.attached(),
          .not_before = from_ms(state.not_before_ms()),
          .not_after = from_ms(state.not_after_ms()),
          .serial = state.serial()};
}

}  // namespace

CertificateKeeper::CertificateKeeper(const reconcile::MeshStore& mesh, Sign sign, Duration retry_max, log::Log& log)
    : mesh_(mesh),
      log_(log),
      random_(kernel_seed()),
      memory_(std::chrono::duration_cast<std::chrono::milliseconds>(retry_max)),
      fetchers_(std::move(sign), [this] { wake(); }) {}

void CertificateKeeper::stop() {
  Keeper::stop();  // after which nothing begins
  fetchers_.stop();
}

CertificateSight CertificateKeeper::sight() const {
  const std::lock_guard lock(sight_mutex_);
  return sight_;
}

Instant CertificateKeeper::turn(const SessionPtr& session, Instant now) {
  follow(session);
  // Before the look: what is done then is seen by it, and what is not counts as being fetched.
  take_fetched();
  if (session == nullptr) return kNever;
  const auto stub = api::Certificates::NewStub(session->channel);
  const auto known = list(*session, *stub);
  if (!known) return now + 1s;
  reconcile::CertificateNeeds needs;
  if (mesh_.is_known()) {
    needs.meshed = [this](const std::string& identity) { return mesh_.is_meshed(identity); };
    needs.local = mesh_.local_identities();
  }
  std::set<std::string> in_flight;
  std::vector<Urgency> running;
  for (const auto& [identity, urgency] : in_flight_) {
    in_flight.insert(identity);
    running.push_back(urgency);
  }
  const reconcile::CertificatePlan plan = reconcile::plan(*known, needs, memory_, in_flight, wall_clock());
  for (const reconcile::CertificateWarning& warning : plan.warnings) warn(warning);
  for (CertificateRequest& request : reconcile::admitted(plan.request, running)) {
    in_flight_[request.identity] = request.urgency;
    fetchers_.begin(session, session_ended_.get_token(), std::move(request));
  }
  for (const std::string& identity : plan.forget) forget(*session, *stub, identity);
  std::set<std::string> keep(needs.local.begin(), needs.local.end());
  for (const CertificateStatus& status : *known) keep.insert(status.identity);
  memory_.keep(keep);
  std::erase_if(told_failures_, [&](const auto& one) { return !keep.contains(one.first); });
  note(*known);
  // What was not admitted begins when one that runs is done, which wakes us.
  const Instant look = monotonic_now() + kLookEvery;
  if (!plan.next) return look;
  const Duration until = std::max(*plan.next - wall_clock(), WallClock::duration(1));
  return std::min(look, monotonic_now() + until);
}

void CertificateKeeper::follow(const SessionPtr& session) {
  const uint64_t number = session == nullptr ? 0 : session->number;
  if (number == session_number_) return;
  session_number_ = number;
  session_ended_.request_stop();
  session_ended_ = std::stop_source();
  if (session == nullptr) note({});
}

void CertificateKeeper::take_fetched() {
  for (const Fetched& fetched : fetchers_.take()) {
    const std::string& identity = fetched.request.identity;
    in_flight_.erase(identity);
    {
      const std::lock_guard lock(sight_mutex_);
      sight_.installed += fetched.outcome == Fetched::Outcome::kInstalled;
      sight_.ca_refused += fetched.outcome == Fetched::Outcome::kCaRefused;
      sight_.data_plane_refused += fetched.outcome == Fetched::Outcome::kDataPlaneRefused;
      sight_.lost += fetched.outcome == Fetched::Outcome::kLost;
    }
    if (fetched.outcome == Fetched::Outcome::kLost) continue;
    const WallClock now = wall_clock();
    if (fetched.outcome != Fetched::Outcome::kInstalled) {
      memory_.failed(identity, fetched.reason, now, random_.next());
      std::string& told = told_failures_[identity];
      const bool again = told == fetched.reason;
      told = fetched.reason;
      CertificateStatus none;
      none.identity = identity;
      const std::string line =
          (fetched.request.urgency == Urgency::kBackground ? "certificate of " + identity + " not renewed"
                                                           : "no certificate for " + identity) +
          ", trying again in " + seconds_text(memory_.allowed(none, now) - now + 500ms) + ": " + fetched.reason;
      again ? log_.debug(line) : log_.error(line);
      continue;
    }
    memory_.granted(identity, now);
    told_failures_.erase(identity);
    const CertificateStatus status = status_of(fetched.state);
    log_.info("certificate of " + identity + ": serial " + status.serial + ", ends in " +
              seconds_text(status.not_after - now) + ", renewed in " + seconds_text(memory_.renewal(status) - now));
  }
}

std::optional<std::vector<CertificateStatus>> CertificateKeeper::list(const Session& session,
                                                                      api::Certificates::Stub& stub) {
  api::CertificateStates reply;
  const grpc::Status status = calls().run(session, [&](grpc::ClientContext& context) {
    return stub.List(&context, api::ListCertificatesRequest(), &reply);
  });
  if (!status.ok()) {
    if (!is_lost(status)) log_.warn("cannot list certificates: " + status.error_message());
    return std::nullopt;
  }
  std::vector<CertificateStatus> out;
  for (const api::CertificateState& state : reply.states()) out.push_back(status_of(state));
  return out;
}

void CertificateKeeper::forget(const Session& session, api::Certificates::Stub& stub, const std::string& identity) {
  api::ForgetRequest request;
  request.set_identity(identity);
  api::ForgetReply reply;
  const grpc::Status status =
      calls().run(session, [&](grpc::ClientContext& context) { return stub.Forget(&context, request, &reply); });
  if (status.ok()) {
    {
      const std::lock_guard lock(sight_mutex_);
      ++sight_.forgotten;
    }
    log_.info("certificate of " + identity + " forgotten: no workload of this node has this identity in the mesh");
  } else if (!is_lost(status)) {
    log_.warn("certificate of " + identity + " could not be forgotten: " + status.error_message());
  }
}

void CertificateKeeper::warn(const reconcile::CertificateWarning& warning) {
  memory_.told(warning.identity, warning.serial, warning.stage);
  const std::string reason = warning.reason.empty() ? "it was not tried while there was time" : warning.reason;
  if (warning.stage == Stage::kExpired) {
    log_.error("certificate of " + warning.identity +
               " has expired and could not be renewed, its mesh traffic is refused: " + reason);
  } else {
    log_.error("certificate of " + warning.identity + " ends in " + seconds_text(warning.not_after - wall_clock()) +
               " and could not be renewed: " + reason);
  }
}

void CertificateKeeper::note(const std::vector<CertificateStatus>& known) {
  using State = CertificateSight::State;
  const WallClock now = wall_clock();
  std::vector<CertificateSight::One> identities;
  for (const CertificateStatus& status : known) {
    const std::string& reason = memory_.reason(status.identity);
    const bool expiring = status.valid && !reason.empty() && memory_.late(status) <= now;
    identities.push_back({.identity = status.identity,
                          .state = status.has_expired(now) ? State::kExpired
                                   : expiring              ? State::kExpiring
                                   : status.valid          ? State::kValid
                                                           : State::kWanted,
                          .attached = status.attached,
                          .in_flight = in_flight_.contains(status.identity),
                          .not_before = status.not_before,
                          .not_after = status.not_after,
                          .serial = status.serial,
                          .last_failure = reason});
  }
  const std::lock_guard lock(sight_mutex_);
  sight_.identities = std::move(identities);
}

}  // namespace culvert::southbound
