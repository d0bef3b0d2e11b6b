// Who talked to whom, how often and how much: the traffic series of one core (reference 24).
//
// A series is a label set without its response_flags: connections are opened and bytes counted under "-", connections
// are closed under the flag they end with, so one series holds a row per flag. A connection finds its series once, when
// it begins, and holds it; adding bytes is a plain add then.
//
//   Series& series = table.open(labels, now);     one look-up, the connection counts as opened
//   series.received_bytes += n;                   while it lives
//   table.close(series, flag, now);               at its end
//
// Bounded in series and in bytes of labels, which peers can influence by their baggage: what finds no room is counted
// together in overflow series. A series that no connection holds and that was not touched for the idle span leaves,
// when somebody reads the table or looks for room; its slot is used again. Until then its values only grow.
//
// Belongs to one core, reading included. Allocates when a series is made, never afterwards.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/time.h"

namespace culvert {

enum class Reporter : uint8_t {
  kSource,       // the client's node: outbound
  kDestination,  // the server's node: inbound
};

// Why a connection ended (reference 24, response_flags).
enum class ResponseFlag : uint8_t {
  kNone,                // -
  kDeny,                // DENY: policy, at start or later
  kConnect,             // CONNECT: any other failure
  kTlsFailure,          // TLS_FAILURE
  kH2HandshakeFailure,  // H2_HANDSHAKE_FAILURE
  kNetworkPolicy,       // NETWORK_POLICY: the tunnel's TCP timed out
  kIdentityError,       // IDENTITY_ERROR: no certificate
  kCertRevoked,         // CERT_REVOKED: CRL
};
inline constexpr size_t kResponseFlags = 8;
std::string_view name_of(ResponseFlag flag);  // "-", "DENY" …

// Empty: unknown. A text is cut at kTrafficTextBytesMax.
struct TrafficPeer {
  std::string_view workload, canonical_service, canonical_revision, name_space, principal, cluster, region, zone;
  friend bool operator==(const TrafficPeer&, const TrafficPeer&) = default;
};
struct TrafficLabels {
  Reporter reporter = Reporter::kSource;
  bool mutual_tls = false;
  bool localities = false;  // a record of either side is known
  TrafficPeer source, destination;
  std::string_view service, service_namespace, service_name;
  friend bool operator==(const TrafficLabels&, const TrafficLabels&) = default;
};
inline constexpr size_t kTrafficTextBytesMax = 512;

// A label set in one piece: what series are found by, and what travels to the reader. Equal label sets are equal bytes.
class TrafficKey {
 public:
  void assign(const TrafficLabels& labels);
  TrafficLabels labels() const;  // views into this
  std::string_view bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// What a series holds at one moment.
struct TrafficSample {
  std::shared_ptr<const TrafficKey> key;
  uint64_t opened = 0;
  uint64_t received_bytes = 0, sent_bytes = 0;    // client to server, and back
  std::array<uint64_t, kResponseFlags> closed{};  // by the flag it ended with; all but kNone have failed
};

// Each label set once, in the order in which they come first, its values added up: what several cores told as one.
std::vector<TrafficSample> summed(std::vector<TrafficSample> samples);

struct TrafficLimits {
  uint32_t series_max = 16'384;
  uint64_t label_bytes_max = 16u << 20;  // of all keys
  Duration idle_max = 15min;
};

class TrafficTable {
 public:
  struct Series {
    uint64_t received_bytes = 0;  // client to server
    uint64_t sent_bytes = 0;      // server to client

   private:
    friend class TrafficTable;
    uint64_t opened = 0;
    std::array<uint64_t, kResponseFlags> closed{};
    std::shared_ptr<const TrafficKey> key;  // null: the slot is free
    uint64_t hash = 0;
    Instant touched{};
    uint32_t live = 0;  // connections that hold it
    uint32_t index = 0;
    uint32_t next = 0;  // in its bucket
  };

  // `seed` keeps peers from choosing labels that fall together.
  TrafficTable(const TrafficLimits& limits, uint64_t seed);
  TrafficTable(const TrafficTable&) = delete;
  TrafficTable& operator=(const TrafficTable&) = delete;

  // The series stays where it is until close().
  Series& open(const TrafficLabels& labels, Instant now);
  void close(Series& series, ResponseFlag flag, Instant now);

  // Looks at `slots_max` slots from `slot` on, takes out the idle ones and adds a sample of each other one. Returns
  // where to go on, 0 when all are told. The first slots are the overflow series.
  uint32_t sample(uint32_t slot, uint32_t slots_max, Instant now, std::vector<TrafficSample>& out);

  uint32_t series() const { return series_; }
  uint64_t overflowed() const { return overflowed_; }  // connections counted as overflow

 private:
  static constexpr uint32_t kBlock = 64;
  static constexpr uint32_t kNone = 0xffffffff;
  static constexpr uint32_t kOverflowSeries = 4;  // reporter × mutual TLS
  using Block = std::array<Series, kBlock>;

  uint64_t hash_of(std::string_view bytes) const;
  uint32_t slots() const { return static_cast<uint32_t>(blocks_.size()) * kBlock; }
  Series& slot(uint32_t index) { return (*blocks_[index / kBlock])[index % kBlock]; }
  Series* find(uint64_t hash);
  Series* make(uint64_t hash);
  bool is_idle(const Series& series, Instant now) const;
  void remove(Series& series);
  void sweep(Instant now);
  void make_block();

  const TrafficLimits limits_;
  const uint64_t seed_;
  std::array<Series, kOverflowSeries> overflow_;
  std::vector<std::unique_ptr<Block>> blocks_;
  std::vector<uint32_t> free_;     // the last is used next
  std::vector<uint32_t> buckets_;  // first slot of each
  TrafficKey wanted_;              // of the look-up under way
  uint32_t series_ = 0;
  uint32_t hand_ = 0;  // where the next sweep begins
  uint64_t label_bytes_ = 0;
  uint64_t overflowed_ = 0;
};

}  // namespace culvert
