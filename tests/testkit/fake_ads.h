// What a fake istiod knows of delta xDS: the resources that stand, and for each stream what its node watches, holds and
// was sent (reference 14.4, 14.6). No gRPC and no clock here: requests come in, responses are asked for.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "tests/testkit/fake_istiod.h"
#include "xds/api/discovery.pb.h"

namespace culvert::testkit {

// The resources that stand, by type and name, with the other names they are asked for by.
class AdsTable {
 public:
  using ResourcePtr = std::shared_ptr<const XdsResource>;
  using ByName = std::map<std::string, ResourcePtr>;

  // Null: nothing stands under this name now.
  void put(const std::string& type_url, const std::string& name, ResourcePtr resource);
  ResourcePtr find(const std::string& type_url, const std::string& name) const;
  const ByName& all(const std::string& type_url) const;
  const std::map<std::string, ByName>& types() const { return types_; }
  size_t size() const;

  // Names of the resources that are meant by a name asked on demand, and of the endpoints of the services among them.
  std::set<std::string> meant_by(const std::string& type_url, const std::string& asked) const;
  const std::set<std::string>& of_node(const std::string& node) const;

 private:
  void index(const XdsResource& resource, bool stands);

  using Names = std::unordered_map<std::string, std::set<std::string>>;
  std::map<std::string, ByName> types_;
  Names also_;       // "network/ip" to names; Address only
  Names endpoints_;  // a service to its workloads
  Names nodes_;
};

// One stream. What it is told to send next depends on the table only, so that it never falls behind by more than that.
class AdsStream {
 public:
  // `name_space`: the token's, which the node's must equal; empty: any.
  AdsStream(uint64_t number, std::string name_space) : number_(number), name_space_(std::move(name_space)) {}

  struct Refusal {
    int grpc_code = 0;
    std::string text;
  };
  // What came of it is appended to `events`. A refusal ends the stream.
  std::optional<Refusal> on_request(const envoy::service::discovery::v3::DeltaDiscoveryRequest& request,
                                    const AdsTable& table, std::vector<FakeIstiodEvent>& events);
  // A resource of the table changed, is new, or (null) is gone.
  void on_changed(const std::string& type_url, const std::string& name, const XdsResource* now);
  void send_again(const AdsTable& table);

  bool has_work() const;
  // The next response; none when there is nothing to say. `push`: the state of the table.
  std::optional<envoy::service::discovery::v3::DeltaDiscoveryResponse> next(const AdsTable& table, uint64_t push,
                                                                            std::vector<FakeIstiodEvent>& events);
  // A nonce for a response that a test wrote itself.
  std::string take_nonce(const std::string& type_url, uint64_t push);

  // Everything of these types up to this push is answered. With no types: of all that it watches, at least one.
  bool settled(const std::set<std::string>& types, uint64_t push) const;
  const std::string& node() const { return node_; }

 private:
  struct Sent {
    std::string nonce;
    uint64_t push;
  };
  struct Watch {
    std::string type_url;
    bool wildcard = true;
    std::set<std::string> asked;              // names, on demand
    std::unordered_set<std::string> implied;  // resources and services that came with them
    std::unordered_set<std::string> holds;    // names the node has, as far as we know
    std::set<std::string> dirty;              // names to tell about
    std::set<std::string> not_found;
    bool owed = false;  // a response, even an empty one
    std::string nonce;  // of the last response
    std::deque<Sent> sent;
    uint64_t answered = 0;
  };

  std::optional<Refusal> take_node(const envoy::service::discovery::v3::DeltaDiscoveryRequest& request);
  Watch* watch_of(const std::string& type_url);
  void begin(const envoy::service::discovery::v3::DeltaDiscoveryRequest& request, const AdsTable& table);
  void subscribe(Watch& watch, const std::string& name, const AdsTable& table);
  // False: the request is outdated.
  bool take_answer(Watch& watch, const envoy::service::discovery::v3::DeltaDiscoveryRequest& request,
                   std::vector<FakeIstiodEvent>& events);
  bool concerns(const Watch& watch, const XdsResource& resource) const;
  FakeIstiodEvent event(FakeIstiodEvent::Kind kind, const std::string& type_url) const;

  const uint64_t number_;
  const std::string name_space_;
  std::string node_, node_name_;
  std::vector<std::unique_ptr<Watch>> watches_;  // in the order in which they were asked for
  uint64_t nonces_ = 0;
};

}  // namespace culvert::testkit
