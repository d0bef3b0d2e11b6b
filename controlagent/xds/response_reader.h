// A DeltaDiscoveryResponse read from its bytes, one resource at a time.
//
// The message as a whole is never made: the bytes of a response may become fifty times as long in memory (an empty
// resource has two), and 200 MiB of them are allowed (reference 14.1). The bytes are walked several times instead,
// which costs next to nothing where parts are skipped: first for the envelope and to see that the framing is whole,
// then for names removed, then for resources.
#pragma once

#include <google/protobuf/io/zero_copy_stream.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "xds/api/discovery.pb.h"
#include "xds/limits.h"

namespace culvert::xds {

// The bytes of one response; may be opened several times, one after the other.
class EncodedResponse {
 public:
  virtual ~EncodedResponse() = default;
  virtual std::unique_ptr<google::protobuf::io::ZeroCopyInputStream> open() const = 0;
  virtual size_t bytes() const = 0;
};

// Bytes in one piece, owned by somebody else.
class ResponseInMemory final : public EncodedResponse {
 public:
  explicit ResponseInMemory(std::string_view bytes) : bytes_(bytes) {}
  std::unique_ptr<google::protobuf::io::ZeroCopyInputStream> open() const override;
  size_t bytes() const override { return bytes_.size(); }

 private:
  std::string_view bytes_;
};

struct Envelope {
  std::string type_url, nonce, version;
  size_t resources = 0, removed = 0;  // how many
};

// None: the bytes are no DeltaDiscoveryResponse, as far as its own fields go; or its texts are longer than kTextMax.
std::optional<Envelope> read_envelope(const EncodedResponse& response);

// Each removed name, in order; one that is longer than `limits` allow is passed over, since nothing has such a name.
void each_removed(const EncodedResponse& response, const Limits& limits,
                  const std::function<void(const std::string& name)>& take);

// What stands in place of one resource. Views and references until `take` returns.
struct ReadResource {
  const envoy::service::discovery::v3::Resource* resource;  // null: it cannot be read
  std::string name;     // for telling; may be empty, or only a part, when it cannot be read
  std::string problem;  // why not
};
void each_resource(const EncodedResponse& response, const Limits& limits,
                   const std::function<void(const ReadResource&)>& take);

// How many sub-messages and list entries an encoded resource of a type has, without making it; what is no such message
// counts as far as it can be read. Reads no further than `most`.
size_t count_elements(std::string_view type_url, std::string_view encoded, size_t most);

inline constexpr std::string_view kAddressType = "type.googleapis.com/istio.workload.Address";
inline constexpr std::string_view kAuthorizationType = "type.googleapis.com/istio.security.Authorization";

}  // namespace culvert::xds
