#include "reconcile/certificates.h"

#include <algorithm>

namespace culvert::reconcile {
namespace {

using std::chrono::milliseconds;

uint64_t hash_of(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a, 64 bits
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return hash ^ (hash >> 32);
}

}  // namespace

void CertificateRetries::failed(const std::string& identity, WallClock now, uint64_t random) {
  Wait& wait = waits_[identity];
  const milliseconds longest = std::chrono::duration_cast<milliseconds>(kRetryMax);
  wait.span = wait.span == milliseconds{0} ? milliseconds{1000} : std::min(2 * wait.span, longest);
  // 80 % to 120 %, and never beyond the ceiling.
  const auto shifted = wait.span * 4 / 5 + wait.span * static_cast<int64_t>(random % 401) / 1000;
  wait.until = now + std::min<milliseconds>(shifted, longest);
}

WallClock CertificateRetries::allowed(const CertificateStatus& status, WallClock now) const {
  const auto found = waits_.find(status.identity);
  if (found == waits_.end()) return now;
  const bool ends_sooner = status.valid && status.not_after > now && status.not_after < found->second.until;
  return ends_sooner ? status.not_after : found->second.until;
}

WallClock renewal(const CertificateStatus& status) {
  const auto life = status.not_after - status.not_before;
  const auto early =
      life.count() < 20
          ? 0
          : static_cast<int64_t>(hash_of(status.identity + status.serial) % static_cast<uint64_t>(life.count() / 20));
  return status.not_before + life / 2 - milliseconds{early};
}

CertificatePlan plan(const std::vector<CertificateStatus>& known, const std::function<bool(const std::string&)>& meshed,
                     const CertificateRetries& retries, WallClock now) {
  CertificatePlan out;
  std::vector<std::string> renew;
  for (const CertificateStatus& status : known) {
    if (!status.attached || (meshed && !meshed(status.identity))) {
      // An attached workload outside of the mesh has nothing to forget.
      if (!status.attached || status.valid) out.forget.push_back(status.identity);
      continue;
    }
    const WallClock due = std::max(status.valid ? renewal(status) : now, retries.allowed(status, now));
    if (due <= now) {
      (status.valid ? renew : out.request).push_back(status.identity);
    } else {
      out.next = out.next ? std::min(*out.next, due) : due;
    }
  }
  out.request.insert(out.request.end(), renew.begin(), renew.end());
  return out;
}

}  // namespace culvert::reconcile
