// A program of what happens between a node and istiod: streams start, any bytes come as responses, names are wanted.
// Whatever came, each response is none or is answered with its own nonce, what it says adds up, and the store holds one
// record for each resource that the machine keeps, and no other.
//
// The input: the first byte's lowest bit chooses on-demand mode; then operations of one byte, modulo 4: 0 and 1 a
// response of as many bytes as the next two say, 2 a stream starts, 3 a name of as many bytes as the next says.
#include <google/protobuf/stubs/logging.h>

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "xds/machine.h"

namespace {

// Takes from the front of the input; nothing more when it is used up.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(reinterpret_cast<const char*>(data), size) {}
  bool empty() const { return rest_.empty(); }
  uint8_t byte() {
    const std::string_view one = text(1);
    return one.empty() ? uint8_t{0} : static_cast<uint8_t>(one[0]);
  }
  std::string_view text(size_t bytes) {
    const std::string_view out = rest_.substr(0, bytes);
    rest_.remove_prefix(out.size());
    return out;
  }

 private:
  std::string_view rest_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace culvert;
  using namespace culvert::xds;
  const google::protobuf::LogSilencer quiet;
  Input input(data, size);
  const bool on_demand = (input.byte() & 1) != 0;
  // Small, so that a short input meets them.
  const Limits limits{.resource_bytes_max = 2000,
                      .resource_elements_max = 200,
                      .name_bytes_max = 200,
                      .aliases_max = 4,
                      .resources_max = 20,
                      .kept_bytes_max = 40'000,
                      .wanted_max = 10,
                      .request_bytes_max = 300,
                      .reasons_max = 5,
                      .reasons_bytes_max = 500};
  reconcile::MeshStore store("n1", {reconcile::Source::kIstiod});
  Machine machine({}, on_demand, limits, store);
  const auto standing = [&store] {
    const auto counts = store.counts();
    return counts.workloads + counts.services + counts.policies;
  };
  while (!input.empty()) {
    const uint8_t operation = input.byte() % 4;
    if (operation == 2) {
      for (const Request& request : machine.start()) {
        DP_CHECK(request.ByteSizeLong() <= limits.request_bytes_max + 400);
        DP_CHECK(static_cast<size_t>(request.initial_resource_versions_size()) <= limits.resources_max);
      }
    } else if (operation == 3) {
      const std::string name(input.text(input.byte()));
      const auto want = machine.want(name);
      if (want.kind == Machine::Want::Kind::kAsked) DP_CHECK(want.request.resource_names_subscribe(0) == name);
      DP_CHECK(on_demand || want.kind == Machine::Want::Kind::kRefused);
    } else {
      const size_t bytes = input.byte() * size_t{256} + input.byte();
      const ResponseInMemory response(input.text(bytes));
      const size_t before = standing();
      const auto envelope = read_envelope(response);
      const auto outcome = machine.on_response(response);
      DP_CHECK(outcome.has_value() == envelope.has_value());
      if (!outcome) {
        DP_CHECK(standing() == before);
        continue;
      }
      DP_CHECK(outcome->reply.response_nonce() == envelope->nonce && outcome->reply.type_url() == envelope->type_url);
      DP_CHECK(!outcome->known_type || outcome->resources + outcome->refused == envelope->resources);
      DP_CHECK((outcome->refused != 0) == outcome->reply.has_error_detail());
      DP_CHECK(outcome->reasons.size() < limits.reasons_bytes_max + 2000);
    }
    DP_CHECK(standing() == machine.kept());
    DP_CHECK(machine.kept() <= 2 * limits.resources_max);
  }
  return 0;
}
