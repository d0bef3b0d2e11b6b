// The delta exchange with istiod (reference 14.4) as a machine: streams that start, responses and wishes go in,
// requests and changes of the mesh come out. No gRPC, no clock, no thread.
//
//   for (request : machine.start()) send(request)         at the start of each stream
//   outcome = machine.on_response(bytes)                  applied to the store already; send(outcome.reply)
//   machine.want("network/10.0.0.7")                      on demand: found, not there, or asked
//
// What is kept survives the streams: the next start claims it, and istiod tells the difference. A resource that is
// refused is not claimed, while the record it had before stays in force. Should such a name, or one that a request had
// no room to claim, not be in the first response of the next stream, istiod no longer has it, and it goes; so nothing
// stays behind that istiod was never told we have.
#pragma once

#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "reconcile/mesh_store.h"
#include "xds/api/discovery.pb.h"
#include "xds/fields.h"
#include "xds/kept.h"
#include "xds/limits.h"
#include "xds/response_reader.h"

namespace culvert::xds {

using Request = envoy::service::discovery::v3::DeltaDiscoveryRequest;

// To a name that was wanted: the resource it is, under its primary name; none when istiod has no such resource.
using Answer = std::optional<std::string>;

struct Outcome {
  Request reply;  // ACK or NACK
  std::string type_url;
  bool known_type = false;
  size_t resources = 0, removed = 0, refused = 0;  // taken, gone, not taken
  std::string reasons;                             // "name: reason; …" of those refused, bounded
  std::vector<std::string> notes;                  // what was left out of resources that were taken
  std::vector<std::pair<std::string, Answer>> answers;
  bool now_ready = false;  // this response made the machine ready
};

class Machine {
 public:
  // The store has to outlive the machine, and gets what istiod says as Source::kIstiod.
  Machine(envoy::config::core::v3::Node node, bool on_demand, const Limits& limits, reconcile::MeshStore& store);

  // A stream starts: the requests to send, in order.
  std::vector<Request> start();

  // Takes a response: what converts is applied, the rest refused. None: the bytes are no response; nothing has changed,
  // and the stream is of no use any more.
  std::optional<Outcome> on_response(const EncodedResponse& response);

  struct Want {
    enum class Kind : uint8_t {
      kAnswered,  // `answer` holds it: the name is kept
      kAsked,     // `request` is to be sent, when there is a stream; the answer comes in an Outcome
      kWaiting,   // asked before; the answer comes in an Outcome
      kRefused,   // not in on-demand mode, no name, or too many wait
    };
    Kind kind;
    Answer answer = {};
    Request request = {};
  };
  // "network/ip" or "namespace/hostname" (reference 13.3).
  Want want(const std::string& name);

  // Each wildcard type had a response that was fully ACKed.
  bool ready() const;
  size_t kept() const { return addresses_.kept.size() + authorizations_.kept.size(); }

 private:
  struct Type {
    std::string_view url;
    bool wildcard = true;
    Kept kept = {};
    bool first_of_stream = true;
    bool applied = false, acked = false;
  };
  class Turn;

  Request first_request(Type& type);
  void ask_again(Type& type, std::vector<Request>& out) const;
  void take(const ReadResource& read, Turn& turn);
  void put(const ReadResource& read, RecordId record, size_t cost, Turn& turn);
  void remove(const RecordId& record, Turn& turn);
  Type* type_of(std::string_view url);

  const envoy::config::core::v3::Node node_;
  const bool on_demand_;
  const Limits limits_;
  reconcile::MeshStore& store_;
  Type addresses_{.url = kAddressType};
  Type authorizations_{.url = kAuthorizationType};
  std::set<std::string> wanted_;  // asked for and not answered
  uint32_t responses_ = 0;        // how many there were; names the one under way
  bool completed_ = false;        // the store was told that the first state is whole
};

}  // namespace culvert::xds
