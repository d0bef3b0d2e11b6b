// HBONE's CONNECT over any header fields: requests, responses, authorities, baggage, forwarded, traceparent (reference
// 5).
//
// The input is a list of fields, one a line, name and value parted by the first '='; what parses must print and parse
// again to the same value.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"
#include "hbone/connect.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace culvert;
  std::string_view rest = text_of({data, size});
  std::vector<http2::Header> fields;
  std::vector<std::string_view> values;
  while (!rest.empty() && fields.size() < 64) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    const size_t equals = line.find('=');
    const std::string_view value = equals == std::string_view::npos ? std::string_view{} : line.substr(equals + 1);
    fields.push_back({line.substr(0, equals), value});
    values.push_back(value);
  }

  const hbone::ConnectRequest request = hbone::parse_request(fields);
  if (request.fault == hbone::RequestFault::kNone) DP_CHECK(request.method == "CONNECT");
  DP_CHECK(request.traceparent.empty() || hbone::is_traceparent(request.traceparent));
  const hbone::ConnectResponse response = hbone::parse_response(fields);
  DP_CHECK(response.status == 0 || (response.status >= 100 && response.status <= 999));

  for (const std::string_view value : values) {
    hbone::forwarded_host(value);
    hbone::is_traceparent(value);
    hbone::Authority::parse(value);
  }
  const hbone::Baggage baggage = hbone::parse_baggage(values);
  const std::string printed = hbone::emit_baggage(baggage);
  const std::string_view again = printed;
  DP_CHECK(hbone::emit_baggage(hbone::parse_baggage({&again, 1})) == printed);
  return 0;
}
