// culvert.yaml's reader over any text: it ends, each problem is one line that names the file, and what it accepts holds
// what the schema promises.
#include <cstdint>
#include <set>
#include <string>
#include <string_view>

#include "base/check.h"
#include "config/load.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace culvert;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto loaded = config::parse(text, "culvert.yaml", {});
  if (!loaded) {
    DP_CHECK(!loaded.error().empty());
    for (const std::string& line : loaded.error()) {
      DP_CHECK(line.starts_with("culvert.yaml:") && line.find('\n') == std::string::npos);
    }
    return 0;
  }
  const config::Config& config = loaded->config;
  DP_CHECK(!config.node.name.empty() && !config.control.allowed_uids.empty());
  DP_CHECK(config.control.socket != config.control.descriptors);
  std::set<std::string> ports;
  std::set<IpAddress> addresses;
  for (const config::Port& port : config.ports) {
    DP_CHECK(ports.insert(port.name).second && port.mtu >= 576);
    DP_CHECK(port.device.empty() == (port.driver == config::Driver::kEthdev));
    for (const Prefix& prefix : port.addresses) DP_CHECK(addresses.insert(prefix.address).second);
  }
  for (const config::Route& route : config.routes) DP_CHECK(ports.contains(route.port));
  std::set<std::string> ids;
  for (const config::Attachment& attachment : config.attachments) {
    DP_CHECK(ids.insert(attachment.id).second && !attachment.addresses.empty() && attachment.gateways.size() <= 2);
    for (const IpAddress& address : attachment.addresses) DP_CHECK(addresses.insert(address).second);
    for (const IpAddress& gateway : attachment.gateways) DP_CHECK(!addresses.contains(gateway));
  }
  DP_CHECK(!config::print(loaded->effective).empty());
  return 0;
}
