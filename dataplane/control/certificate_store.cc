#include "control/certificate_store.h"

#include <algorithm>

namespace culvert::control {

namespace {

Event certificate_event(Event::Kind kind, const identity::SpiffeId& id, UnixTime now, UnixTime not_after = {}) {
  Event event;
  event.kind = kind;
  event.at = now;
  event.name = id.uri();
  event.not_after = not_after;
  return event;
}

}  // namespace

Result<CertificateStore::Csr, std::string> CertificateStore::create_csr(const identity::SpiffeId& id) {
  if (!entries_.contains(id) && entries_.size() >= kIdentitiesMax) {
    return Failure{std::to_string(kIdentitiesMax) + " identities are held already: forget some first"};
  }
  std::shared_ptr<const identity::PrivateKey> key = identity::PrivateKey::generate_p256();
  if (!key) return Failure{std::string("no key could be made: OpenSSL has no randomness or no memory")};
  std::string pem = key->csr_pem(id);
  if (pem.empty()) return Failure{"no certificate request could be made for " + id.uri()};
  Entry& entry = entries_[id];
  pending_.erase(entry.pending_id);
  entry.pending_key = std::move(key);
  entry.pending_id = instance_ + "-" + std::to_string(++requests_);
  pending_.emplace(entry.pending_id, id);
  return Csr{entry.pending_id, std::move(pem)};
}

Result<CertificateRow, std::string> CertificateStore::install(std::string_view csr_id, std::string_view chain_pem,
                                                              std::string_view roots_pem, UnixTime now) {
  const auto pending = pending_.find(csr_id);
  if (pending == pending_.end()) {
    return Failure{"no certificate request `" + std::string(csr_id) +
                   "` is pending: a newer one replaced it, or the data plane was restarted"};
  }
  const identity::SpiffeId id = pending->second;
  Entry& entry = entries_.at(id);
  if (chain_pem.empty()) return Failure{std::string("the chain is empty")};
  auto made = identity::Credentials::make(entry.pending_key, chain_pem, roots_pem);
  if (!made) return Failure{made.error()};
  const identity::Credentials& credentials = **made;
  const std::vector<identity::SpiffeId>& names = credentials.identities();
  if (names.empty() || names.front() != id) {
    return Failure{"the leaf's identity is " + (names.empty() ? std::string("none") : names.front().uri()) + ", not " +
                   id.uri()};
  }
  if (credentials.not_after() <= now) return Failure{std::string("the chain has expired")};
  entry.not_before = credentials.not_before();
  entry.not_after = credentials.not_after();
  entry.serial = credentials.serial_decimal();
  if (!entry.credentials) ++in_force_;
  entry.credentials = std::move(*made);
  entry.pending_key.reset();
  entry.pending_id.clear();
  entry.expired = entry.told_needed = entry.told_expiring = entry.told_late = false;
  pending_.erase(pending);
  changed_ = true;
  return row(id, entry);
}

bool CertificateStore::forget(const identity::SpiffeId& id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return false;
  const Entry& entry = found->second;
  const bool held = entry.credentials || entry.pending_key || entry.expired;
  pending_.erase(entry.pending_id);
  if (entry.credentials) {
    --in_force_;
    changed_ = true;
  }
  entries_.erase(found);
  // Still attached: it stays in the list, as needed. Who made us forget it knows that, so it is not told again.
  if (attached_.contains(id)) entries_[id].told_needed = true;
  return held;
}

void CertificateStore::set_attached(std::set<identity::SpiffeId> attached, UnixTime now) {
  attached_.swap(attached);
  for (const identity::SpiffeId& id : attached) {
    if (!attached_.contains(id)) drop_if_idle(id);
  }
  for (const identity::SpiffeId& id : attached_) {
    // Beyond the limit an identity stays without a certificate: its traffic is refused, which is the safe side.
    if (!entries_.contains(id) && entries_.size() >= kIdentitiesMax) continue;
    tell_needed(id, entries_[id], now);
  }
}

void CertificateStore::tell_needed(const identity::SpiffeId& id, Entry& entry, UnixTime now) {
  if (entry.credentials || entry.told_needed) return;
  entry.told_needed = true;
  events_.push_back(certificate_event(Event::Kind::kCertificateNeeded, id, now));
}

// An entry that was only there because its identity was attached goes; what the agent asked for stays until it is
// forgotten.
void CertificateStore::drop_if_idle(const identity::SpiffeId& id) {
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  Entry& entry = found->second;
  entry.told_needed = false;
  if (!entry.credentials && !entry.pending_key) entries_.erase(found);
}

void CertificateStore::tick(UnixTime now) {
  for (auto& [id, entry] : entries_) {
    if (!entry.credentials) continue;
    if (entry.not_after <= now) {
      entry.credentials.reset();
      entry.expired = true;
      --in_force_;
      changed_ = true;
      events_.push_back(certificate_event(Event::Kind::kCertificateExpired, id, now, entry.not_after));
      continue;
    }
    if (!entry.told_expiring && half_life(entry) <= now) {
      entry.told_expiring = true;
      events_.push_back(certificate_event(Event::Kind::kCertificateExpiring, id, now, entry.not_after));
    }
    if (!entry.told_late && late(entry) <= now) {
      entry.told_late = true;
      events_.push_back(certificate_event(Event::Kind::kCertificateLate, id, now, entry.not_after));
    }
  }
}

std::shared_ptr<const worker::CredentialMap> CertificateStore::take_changed() {
  if (!changed_) return nullptr;
  changed_ = false;
  auto map = std::make_shared<worker::CredentialMap>();
  for (const auto& [id, entry] : entries_) {
    if (entry.credentials) map->emplace(id, entry.credentials);
  }
  return map;
}

std::vector<Event> CertificateStore::take_events() {
  std::vector<Event> out;
  out.swap(events_);
  return out;
}

std::vector<Event> CertificateStore::present(UnixTime now) const {
  std::vector<Event> out;
  for (const auto& [id, entry] : entries_) {
    if (entry.credentials && half_life(entry) <= now) {
      out.push_back(certificate_event(Event::Kind::kCertificateExpiring, id, now, entry.not_after));
      if (late(entry) <= now) {
        out.push_back(certificate_event(Event::Kind::kCertificateLate, id, now, entry.not_after));
      }
    } else if (entry.expired) {
      out.push_back(certificate_event(Event::Kind::kCertificateExpired, id, now, entry.not_after));
    } else if (!entry.credentials && attached_.contains(id)) {
      out.push_back(certificate_event(Event::Kind::kCertificateNeeded, id, now));
    }
  }
  return out;
}

CertificateRow CertificateStore::row(const identity::SpiffeId& id, const Entry& entry) const {
  CertificateRow out;
  out.identity = id;
  out.csr_pending = entry.pending_key != nullptr;
  out.attached = attached_.contains(id);
  out.not_before = entry.not_before;
  out.not_after = entry.not_after;
  out.serial = entry.serial;
  out.state = entry.credentials ? CertificateRow::State::kValid
              : entry.expired   ? CertificateRow::State::kExpired
              : out.attached    ? CertificateRow::State::kNeeded
                                : CertificateRow::State::kIdle;
  return out;
}

std::vector<CertificateRow> CertificateStore::rows(UnixTime now, bool pem) const {
  std::vector<CertificateRow> out;
  for (const auto& [id, entry] : entries_) {
    out.push_back(row(id, entry));
    if (pem && entry.credentials) {
      out.back().chain_pem = entry.credentials->chain_pem();
      out.back().roots_pem = entry.credentials->roots_pem();
    }
    if (out.back().state == CertificateRow::State::kValid && entry.not_after <= now) {
      out.back().state = CertificateRow::State::kExpired;
    }
  }
  return out;
}

}  // namespace culvert::control
