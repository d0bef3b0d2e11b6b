// Credentials of the node's identities, and the keys whose certificates are on their way (D20).
//
// A key is made here with its request and stays here: create_csr() gives out the request only. What is in force is
// published as one immutable map, without the expired, so that whoever finds an identity in it may use it (D16).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/time.h"
#include "control/event_board.h"
#include "identity/credentials.h"
#include "identity/spiffe_id.h"
#include "worker/node.h"

namespace culvert::control {

struct CertificateRow {
  enum class State : uint8_t { kNeeded, kValid, kExpired, kIdle };  // kIdle: only a request is pending
  identity::SpiffeId identity;
  State state = State::kIdle;
  bool csr_pending = false, attached = false;
  UnixTime not_before{}, not_after{};
  std::string serial;
  std::string chain_pem, roots_pem;  // when asked for
};

class CertificateStore {
 public:
  // One identity per service account that has pods here; far above what a node can run.
  static constexpr size_t kIdentitiesMax = 4096;

  // `instance` makes the numbers of requests unlike those of an earlier process.
  explicit CertificateStore(std::string instance) : instance_(std::move(instance)) {}

  struct Csr {
    std::string id;
    std::string pem;
  };
  // A new key for every request; the one before it is void. Errors are sentences.
  Result<Csr, std::string> create_csr(const identity::SpiffeId& id);
  Result<CertificateRow, std::string> install(std::string_view csr_id, std::string_view chain_pem,
                                              std::string_view roots_pem, UnixTime now);
  bool forget(const identity::SpiffeId& id);

  // Identities that attached workloads have. Those without a valid certificate are told as needed, once.
  void set_attached(std::set<identity::SpiffeId> attached, UnixTime now);
  // Tells what has come to half its life, to four fifths of it without a successor, or to its end; those that ended
  // leave the map.
  void tick(UnixTime now);

  // The present map when it changed since the last call, else null.
  std::shared_ptr<const worker::CredentialMap> take_changed();
  std::vector<Event> take_events();
  // What a new watcher has to know: needed, past half their life, expired.
  std::vector<Event> present(UnixTime now) const;

  std::vector<CertificateRow> rows(UnixTime now, bool pem = false) const;  // by identity
  size_t valid() const { return in_force_; }

 private:
  struct Entry {
    std::shared_ptr<const identity::Credentials> credentials;  // null: none yet, or expired
    std::shared_ptr<const identity::PrivateKey> pending_key;
    std::string pending_id;
    UnixTime not_before{}, not_after{};
    std::string serial;
    bool expired = false;
    bool told_needed = false, told_expiring = false, told_late = false;
  };
  static UnixTime half_life(const Entry& entry) { return entry.not_before + (entry.not_after - entry.not_before) / 2; }
  static UnixTime late(const Entry& entry) { return entry.not_before + (entry.not_after - entry.not_before) * 4 / 5; }
  CertificateRow row(const identity::SpiffeId& id, const Entry& entry) const;
  void tell_needed(const identity::SpiffeId& id, Entry& entry, UnixTime now);
  void drop_if_idle(const identity::SpiffeId& id);

  std::string instance_;
  uint64_t requests_ = 0;
  std::map<identity::SpiffeId, Entry> entries_;
  std::map<std::string, identity::SpiffeId, std::less<>> pending_;  // by request
  std::set<identity::SpiffeId> attached_;
  std::vector<Event> events_;
  size_t in_force_ = 0;
  bool changed_ = true;  // the empty map is published too
};

}  // namespace culvert::control
