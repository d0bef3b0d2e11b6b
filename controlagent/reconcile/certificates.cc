#include "reconcile/certificates.h"

#include <algorithm>

namespace culvert::reconcile {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kFirstRetry{1000};
constexpr milliseconds kBetweenFetches{1000};  // of one identity, whatever its certificates' dates say

uint64_t hash_of(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a, 64 bits
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash ^ (hash >> 32);
}

}  // namespace

const CertificateMemory::Past* CertificateMemory::find(const std::string& identity) const {
  const auto found = of_.find(identity);
  return found == of_.end() ? nullptr : &found->second;
}

void CertificateMemory::failed(const std::string& identity, std::string reason, WallClock now, uint64_t random) {
  Past& past = of_[identity];
  past.span = past.span == milliseconds{0} ? std::min(kFirstRetry, retry_max_) : std::min(2 * past.span, retry_max_);
  // 80 % to 120 %, and never beyond the ceiling.
  const auto shifted = past.span * 4 / 5 + past.span * static_cast<int64_t>(random % 401) / 1000;
  past.until = now + std::min<milliseconds>(shifted, retry_max_);
  past.reason = std::move(reason);
}

void CertificateMemory::granted(const std::string& identity, WallClock now) {
  Past& past = of_[identity];
  past = Past{};
  past.granted_at = now;
}

const std::string& CertificateMemory::reason(const std::string& identity) const {
  static const std::string kNone;
  const Past* past = find(identity);
  return past == nullptr ? kNone : past->reason;
}

WallClock CertificateMemory::allowed(const CertificateStatus& status, WallClock now) const {
  const Past* past = find(status.identity);
  if (past == nullptr || past->span == milliseconds{0}) return now;
  const bool ends_sooner = status.valid && status.not_after > now && status.not_after < past->until;
  return ends_sooner ? status.not_after : past->until;
}

WallClock CertificateMemory::begin(const CertificateStatus& status) const {
  const Past* past = find(status.identity);
  return past == nullptr || !past->granted_at ? status.not_before : std::max(status.not_before, *past->granted_at);
}

WallClock CertificateMemory::renewal(const CertificateStatus& status) const {
  const WallClock half = half_life(status);
  const Past* past = find(status.identity);
  if (past == nullptr || !past->granted_at || half >= *past->granted_at + kBetweenFetches) return half;
  const auto left = status.not_after - *past->granted_at;
  return *past->granted_at + std::max<milliseconds>(left / 2, kBetweenFetches);
}

WallClock CertificateMemory::late(const CertificateStatus& status) const {
  const WallClock from = begin(status);
  return from + (status.not_after - from) / 5 * 4;
}

void CertificateMemory::told(const std::string& identity, const std::string& serial, Stage stage) {
  Past& past = of_[identity];
  past.told_serial = serial;
  past.told_stage = stage;
}

CertificateMemory::Stage CertificateMemory::told(const CertificateStatus& status) const {
  const Past* past = find(status.identity);
  return past == nullptr || past->told_serial != status.serial ? Stage::kNone : past->told_stage;
}

void CertificateMemory::keep(const std::set<std::string>& identities) {
  std::erase_if(of_, [&](const auto& one) { return !identities.contains(one.first); });
}

WallClock half_life(const CertificateStatus& status) {
  const auto life = status.not_after - status.not_before;
  const auto early =
      life.count() < 20
          ? 0
          : static_cast<int64_t>(hash_of(status.identity + status.serial) % static_cast<uint64_t>(life.count() / 20));
  return status.not_before + life / 2 - milliseconds{early};
}

namespace {

class Planner {
 public:
  Planner(const CertificateMemory& memory, const std::set<std::string>& in_flight, WallClock now)
      : memory_(memory), in_flight_(in_flight), now_(now) {}

  void want(const CertificateStatus& status) {
    warn(status);
    if (in_flight_.contains(status.identity)) return;
    const bool valid = status.valid && status.not_after > now_;
    const WallClock due = std::max(valid ? memory_.renewal(status) : now_, memory_.allowed(status, now_));
    if (due > now_) {
      at(due);
    } else if (valid) {
      renew_.emplace_back(status.not_after, status.identity);
    } else {
      (status.attached ? real_time_ : warmup_).push_back(status.identity);
    }
  }

  void forget(const CertificateStatus& status) {
    if (!in_flight_.contains(status.identity)) out_.forget.push_back(status.identity);
  }

  CertificatePlan take() {
    std::sort(renew_.begin(), renew_.end());
    for (std::string& one : real_time_) out_.request.push_back({std::move(one), Urgency::kRealTime});
    for (std::string& one : warmup_) out_.request.push_back({std::move(one), Urgency::kWarmup});
    for (auto& [end, one] : renew_) out_.request.push_back({std::move(one), Urgency::kBackground});
    return std::move(out_);
  }

 private:
  void at(WallClock time) { out_.next = out_.next ? std::min(*out_.next, time) : time; }

  // A certificate that comes near its end, or to it, although it was tried to renew it.
  void warn(const CertificateStatus& status) {
    using Stage = CertificateMemory::Stage;
    const Stage told = memory_.told(status);
    const std::string& reason = memory_.reason(status.identity);
    if (status.has_expired(now_)) {
      if (told != Stage::kExpired) add(status, Stage::kExpired, reason);
    } else if (status.valid) {
      at(status.not_after);
      if (told != Stage::kNone) return;
      const WallClock late = memory_.late(status);
      if (late > now_) {
        at(late);
      } else if (!reason.empty()) {
        add(status, Stage::kLate, reason);
      }
    }
  }

  void add(const CertificateStatus& status, CertificateMemory::Stage stage, const std::string& reason) {
    out_.warnings.push_back({status.identity, status.serial, stage, status.not_after, reason});
  }

  const CertificateMemory& memory_;
  const std::set<std::string>& in_flight_;
  const WallClock now_;
  std::vector<std::string> real_time_, warmup_;
  std::vector<std::pair<WallClock, std::string>> renew_;
  CertificatePlan out_;
};

}  // namespace

CertificatePlan plan(const std::vector<CertificateStatus>& known, const CertificateNeeds& needs,
                     const CertificateMemory& memory, const std::set<std::string>& in_flight, WallClock now) {
  Planner planner(memory, in_flight, now);
  std::set<std::string> unheard(needs.local.begin(), needs.local.end());
  for (const CertificateStatus& status : known) {
    const bool local = unheard.erase(status.identity) > 0;
    if (!needs.meshed) {
      if (status.attached || status.valid) planner.want(status);
    } else if (status.attached ? needs.meshed(status.identity) : local) {
      planner.want(status);
    } else if (!status.attached || status.valid) {
      // An attached workload outside of the mesh has nothing to forget.
      planner.forget(status);
    }
  }
  if (needs.meshed) {
    for (const std::string& identity : unheard) {
      CertificateStatus status;
      status.identity = identity;
      planner.want(status);
    }
  }
  return planner.take();
}

std::vector<CertificateRequest> admitted(const std::vector<CertificateRequest>& wanted,
                                         const std::vector<Urgency>& running) {
  size_t all = running.size();
  size_t patient = static_cast<size_t>(
      std::count_if(running.begin(), running.end(), [](Urgency one) { return one != Urgency::kRealTime; }));
  std::vector<CertificateRequest> out;
  for (const CertificateRequest& request : wanted) {
    if (all == kFetchesMax) break;
    if (request.urgency != Urgency::kRealTime && patient++ >= kPatientFetchesMax) break;
    ++all;
    out.push_back(request);
  }
  return out;
}

}  // namespace culvert::reconcile
