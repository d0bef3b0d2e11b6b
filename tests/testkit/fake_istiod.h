// istiod for tests: plays delta ADS (reference 14) and the CA (reference 15) over TLS, as the real one was seen to, and
// misbehaves where a test says so.
//
//   auto istiod = *FakeIstiod::start({});
//   const uint64_t push = istiod->set({resource(message_of(workload))});
//   ASSERT_TRUE(istiod->wait_answered(push)) << istiod->history();
//   istiod->disconnect(grpc::StatusCode::UNAVAILABLE, "transport is closing");
//
// What a node is sent is the difference between what stands here and what that node holds, taken when its stream is
// free: a node that reads slowly gets fewer, larger responses and costs no memory. What the real istiod does besides
// (debounce by time, several clusters, its own watch of pods for impersonation) is not played.
//
// All calls may come from any thread; callbacks come from threads of gRPC, without a lock held.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "reconcile/mesh.h"
#include "tests/testkit/test_ca.h"
#include "xds/api/address.pb.h"
#include "xds/api/authorization.pb.h"

namespace culvert::testkit {

inline constexpr char kAddressType[] = "type.googleapis.com/istio.workload.Address";
inline constexpr char kAuthorizationType[] = "type.googleapis.com/istio.security.Authorization";

// A resource as it is sent.
struct XdsResource {
  std::string type_url;  // the response's, and by default that of the Any
  std::string name;      // the primary one (reference 13.3)
  std::string bytes;     // the Any's value
  std::string version;   // a hash of the content for Address, "" for Authorization, as istiod has it
  std::string any_type_url;
  // Only for Address: what else a node may ask for it by ("network/ip"), the services it is an endpoint of, its node.
  std::vector<std::string> also;
  std::vector<std::string> services;
  std::string node;
};
XdsResource resource(const istio::workload::Address& message);
XdsResource resource(const istio::security::Authorization& message);
// A resource whose value is what it is: unparsable, of another type, of the future.
XdsResource raw_resource(std::string type_url, std::string name, std::string bytes, std::string version = "1");

struct XdsName {
  std::string type_url, name;
};

// How the CA answers.
struct CaBehaviour {
  std::chrono::seconds lifetime{};  // 0: what was asked for, a day at most
  // Zero: `ca::backdating`'s rule, a fifth of the life and two minutes at most. istiod itself takes two minutes always.
  std::chrono::seconds backdated{};
  std::chrono::milliseconds delay{};
  int refusal = 0;  // a gRPC code; 0: none
  std::string refusal_text = {};
  std::string answer_as = {};            // another identity than the one asked for
  bool without_roots = false;            // the last element is left out
  bool expired = false;                  // a certificate whose life is over
  std::optional<std::string> junk = {};  // these bytes instead of an answer
};

struct FakeIstiodEvent {
  enum class Kind {
    kStream,   // a node opened a stream; text: its authority and address
    kRefused,  // a stream or a call was refused; text: why
    kRequest,  // any request of xDS but ACK and NACK
    kAck,
    kNack,         // text: error_detail's message
    kStale,        // a request with an outdated nonce, ignored but for its answer
    kPush,         // a response was sent
    kStreamEnd,    // text: who ended it
    kCsr,          // text: the request, PEM
    kCertificate,  // the answer was sent; text: serial or refusal
    kNote,         // what the test or the script did
  };
  Kind kind = Kind::kNote;
  std::chrono::system_clock::time_point at{};
  uint64_t stream = 0;  // from 1
  std::string node;     // its id
  std::string type_url, nonce, text, identity;
  uint64_t push = 0;  // of kPush, kAck, kNack: up to which push it told
  std::vector<std::string> subscribe, unsubscribe;
  size_t resources = 0, removed = 0, known = 0;  // known: names in initial_resource_versions
  std::map<std::string, std::string> headers;    // of kStream and kCsr: the call's metadata
};
const char* name_of(FakeIstiodEvent::Kind kind);

class FakeIstiod {
 public:
  struct Token {
    std::string value = "test-token";
    std::string name_space = "istio-system", service_account = "ztunnel";
    bool trusted = true;  // listed in CA_TRUSTED_NODE_ACCOUNTS: may impersonate
  };
  struct Options {
    std::string address = "127.0.0.1:0";  // "[::1]:0"; port 0: any free one, which it keeps
    std::vector<std::string> names = {"istiod.istio-system.svc", "localhost"};  // of its certificate; addresses too
    std::vector<Token> tokens = {{}};       // none: every caller is accepted as ztunnel
    std::shared_ptr<const TestCa> ca = {};  // signs its own certificate and those of workloads; null: one of its own
    bool intermediate = false;              // workload certificates come from a CA below the root
    bool rsa_root = false;                  // of its own CA: as istiod's self-signed one; slower to make
    std::function<void(const FakeIstiodEvent&)> on_event = {};
  };
  // The error is one sentence: the address cannot be bound.
  static Result<std::unique_ptr<FakeIstiod>, std::string> start(Options options);
  ~FakeIstiod();

  // "127.0.0.1:41234", and as XDS_ADDRESS and CA_ADDRESS take it: "https://127.0.0.1:41234".
  std::string address() const;
  std::string url() const { return "https://" + address(); }
  std::string root_pem() const;  // what its own certificate is to be judged by
  // root-cert.pem and istio-token (the first token's value), each by a rename, so that a reader sees old or new.
  void write_client_files(const std::string& directory) const;

  // --- the mesh

  // One push: removals and changes are sent together to every node that watches them. The number is for
  // wait_answered().
  uint64_t change(std::vector<XdsResource> set, std::vector<XdsName> remove);
  uint64_t set(std::vector<XdsResource> resources) { return change(std::move(resources), {}); }
  uint64_t remove(std::vector<XdsName> names) { return change({}, std::move(names)); }
  // Makes what stands equal to this mesh; sends only what differs.
  uint64_t set_mesh(const reconcile::Mesh& mesh);
  // Sends everything that stands once more, as after a change that touches all.
  uint64_t push_again();
  // A response as it is given, but for its nonce: of an unknown type, with resources that nobody asked for.
  void send_response(const std::string& type_url, std::vector<XdsResource> resources, std::vector<std::string> removed);
  // A message of exactly these bytes on every stream.
  void send_bytes(std::string bytes);

  // True when at least one node watches xDS, and every one that does has answered all it was sent up to this push and
  // is owed nothing more of it.
  bool wait_answered(uint64_t push, std::chrono::milliseconds patience = std::chrono::seconds{20});
  bool wait_streams(size_t count, std::chrono::milliseconds patience = std::chrono::seconds{20});
  // True when an event for which `wanted` holds has come since the start, or comes.
  bool wait_event(const std::function<bool(const FakeIstiodEvent&)>& wanted,
                  std::chrono::milliseconds patience = std::chrono::seconds{20});

  // --- faults

  void disconnect(int grpc_code, const std::string& text);  // ends every xDS stream
  void set_delay(std::chrono::milliseconds delay);          // before each response
  // New streams end at once with this status; 0: they do not.
  void refuse_streams(int grpc_code, const std::string& text = {});
  void set_tokens(std::vector<Token> tokens);
  void reject_tokens(bool reject);  // whatever they are; running streams go on, as with istiod
  // Closes the listener and every connection; listens again on the same address.
  void stop_listening();
  void listen();
  // A new certificate of its own from the present root, in force for new connections. All connections end, as when
  // istiod's pod is replaced.
  void rotate_server();
  // A new root for its own certificate and for workloads; with `keep_old` the bundle that workloads get has both.
  // Connections end. root_pem() is the new one.
  void rotate_root(bool keep_old);
  // One more root in the bundle that workloads get.
  void add_root(const std::string& pem);
  void set_ca(CaBehaviour behaviour);
  void set_ca_for(const std::string& identity, CaBehaviour behaviour);

  // --- what was seen

  size_t streams() const;
  size_t resources() const;
  std::vector<FakeIstiodEvent> events() const;     // the last kEventsMax
  size_t count(FakeIstiodEvent::Kind kind) const;  // since the start
  std::string history() const;                     // as lines, for messages of tests
  size_t certificates_issued() const;
  size_t certificate_calls_at_once_max() const;
  // Every byte of the CA's requests and answers, for a search that must find nothing.
  std::string certificate_bytes() const;

  static constexpr size_t kEventsMax = 10'000;
  static constexpr size_t kCertificateBytesMax = 4u << 20;

 private:
  struct Core;
  explicit FakeIstiod(std::unique_ptr<Core> core);
  std::unique_ptr<Core> core_;
};

}  // namespace culvert::testkit
