// ports, routes and attachments: what each accepts, and what must hold between them.
#include <algorithm>
#include <map>
#include <set>

#include "config/sections.h"

namespace culvert::config {

namespace {

constexpr uint16_t kIpv4MtuMin = 576;   // RFC 791 3.1: what every host must take
constexpr uint16_t kIpv6MtuMin = 1280;  // RFC 8200 5
constexpr std::string_view kInterfaceName = "an interface name of 1 to 15 characters";
constexpr std::string_view kUnicast = "an address that one host can have";

// What Linux accepts (dev_valid_name), without blanks of any kind.
bool is_interface_name(std::string_view text) {
  if (text.empty() || text.size() > 15 || text == "." || text == "..") return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f && c != '/' && c != ':'; });
}

bool is_port_name(std::string_view text) {
  return !text.empty() && text.size() <= 32 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.';
  });
}

bool is_attachment_id(std::string_view text) {
  if (text.empty() || text.size() > 255 || text.starts_with("port:")) return false;
  return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

bool is_workload(std::string_view text) {
  const size_t slash = text.find('/');
  return slash != std::string_view::npos && slash > 0 && slash + 1 < text.size() &&
         text.find('/', slash + 1) == std::string_view::npos && text.find(' ') == std::string_view::npos;
}

bool is_devargs(std::string_view text) {
  return !text.empty() && text.size() <= 1024 &&
         std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

bool is_unicast(const IpAddress& address) {
  return !address.is_unspecified() && !address.is_multicast() && !address.is_broadcast() && !address.is_loopback();
}

// Where each address of the node was given first, so that a second place can name it.
class AddressBook {
 public:
  explicit AddressBook(Reader& reader) : reader_(reader) {}

  void own(const Found& found, const IpAddress& address) {
    const auto [entry, added] = owners_.emplace(address, found);
    if (!added) reader_.problem(found, address.to_string() + " is given twice, first at " + where(entry->second));
  }
  // Gateways may be the same for many attachments, but are nobody's own address.
  void gateway(const Found& found, const IpAddress& address) { gateways_.emplace_back(found, address); }

  void finish() {
    for (const auto& [found, address] : gateways_) {
      const auto owner = owners_.find(address);
      if (owner != owners_.end()) {
        reader_.problem(found, address.to_string() + " is an address of its own already, at " + where(owner->second));
      }
    }
  }

 private:
  static std::string where(const Found& found) { return found.place + " (" + found.key + ")"; }
  Reader& reader_;
  std::map<IpAddress, Found> owners_;
  std::vector<std::pair<Found, IpAddress>> gateways_;
};

// Names of one kind that may be given once.
class Names {
 public:
  Names(Reader& reader, std::string what) : reader_(reader), what_(std::move(what)) {}
  void take(const Found& found, const std::string& name) {
    const auto [entry, added] = first_.emplace(name, found);
    if (!added) {
      reader_.problem(found, what_ + " `" + name + "` is given twice, first at " + entry->second.place);
    }
  }
  bool contains(const std::string& name) const { return first_.contains(name); }
  std::string all() const {
    std::string out;
    for (const auto& [name, found] : first_) out += (out.empty() ? "" : ", ") + name;
    return out;
  }

 private:
  Reader& reader_;
  std::string what_;
  std::map<std::string, Found> first_;
};

template <class Value>
std::string show(const std::vector<Value>& values) {
  std::string out;
  for (const Value& value : values) out += (out.empty() ? "" : ", ") + value.to_string();
  return "[" + out + "]";
}

void show_list(Reader& reader, Section& section, const char* key, std::string value) {
  const Found found = section.find(key);
  reader.effective(found.key, std::move(value), found.node ? found.place : "default");
}

std::optional<IpAddress> read_address(Reader& reader, const Found& item) {
  const std::optional<IpAddress> address =
      item.node->kind == YamlNode::Kind::kScalar ? IpAddress::parse(item.node->text) : std::nullopt;
  if (!address) {
    reader.refuse(item, "an IPv4 or IPv6 address without a length");
    return std::nullopt;
  }
  if (!is_unicast(*address)) {
    reader.refuse(item, kUnicast);
    return std::nullopt;
  }
  return address;
}

void check_mtu(Reader& reader, Section& section, uint16_t mtu, bool has_v6) {
  if (has_v6 && mtu < kIpv6MtuMin) {
    reader.problem(section.find("mtu"),
                   "at least 1280 is accepted with an IPv6 address (RFC 8200 5), not " + std::to_string(mtu));
  }
}

// Roles and drivers of the design that no release has yet are refused by name, so that nobody takes them for a typing
// error of theirs.
bool refuse_unbuilt(Reader& reader, Section& section, const char* key, const std::set<std::string_view>& unbuilt,
                    std::string_view built) {
  const Found found = section.find(key);
  if (!found.node || found.node->kind != YamlNode::Kind::kScalar || !unbuilt.contains(found.node->text)) return false;
  reader.problem(found, "`" + found.node->text + "` is not built yet; accepted: " + std::string(built));
  return true;
}

void read_role(Reader& reader, Section& section) {
  if (refuse_unbuilt(reader, section, "role", {"pods", "host"}, "uplink")) return;
  std::string role;
  section.text("role", role, true, "uplink", [](std::string_view text) { return text == "uplink"; });
}

void read_driver(Reader& reader, Section& section, Port& out) {
  constexpr Driver kAll[] = {Driver::kTap, Driver::kEthdev};
  if (refuse_unbuilt(reader, section, "driver", {"packet", "af_packet"}, "tap, ethdev")) return;
  if (!section.choice("driver", out.driver, kAll, true)) return;
  const auto refuse_foreign = [&](const char* key, const char* owner) {
    const Found found = section.find(key);
    if (found.node) reader.problem(found, std::string("belongs to driver ") + owner + " only: remove it here");
  };
  if (out.driver == Driver::kTap) {
    section.path("netns", out.netns, false);
    section.text("device", out.device, true, kInterfaceName, is_interface_name);
    refuse_foreign("devargs", "ethdev");
  } else {
    section.text("devargs", out.devargs, true, "devargs of a DPDK device, up to 1024 characters without blanks",
                 is_devargs);
    refuse_foreign("netns", "tap");
    refuse_foreign("device", "tap");
  }
}

Port read_port(Reader& reader, const Found& item, Names& names, Names& devices, AddressBook& book) {
  constexpr std::string_view kAddress = "a list of addresses with their prefix length, as 10.9.0.1/8";
  Port out;
  Section section(reader, item.key, item.node, true);
  if (section.text("name", out.name, true, "1 to 32 letters, digits, `.`, `-`, `_`", is_port_name)) {
    names.take(section.find("name"), out.name);
  }
  read_role(reader, section);
  read_driver(reader, section, out);
  if (!out.device.empty()) {
    devices.take(section.find("device"), (out.netns.empty() ? "" : out.netns + " ") + out.device);
  }
  if (!out.devargs.empty()) devices.take(section.find("devargs"), out.devargs.substr(0, out.devargs.find(',')));
  bool has_v6 = false;
  for (const Found& address : section.list("addresses", kAddress)) {
    const std::string& text = address.node->text;
    const std::optional<Prefix> prefix =
        address.node->kind == YamlNode::Kind::kScalar ? Prefix::parse(text) : std::nullopt;
    if (!prefix || text.find('/') == std::string::npos) {
      reader.refuse(address, "an address with its prefix length, as 10.9.0.1/8,");
    } else if (!is_unicast(prefix->address)) {
      reader.refuse(address, kUnicast);
    } else {
      book.own(address, prefix->address);
      out.addresses.push_back(*prefix);
      has_v6 = has_v6 || !prefix->address.is_v4();
    }
  }
  show_list(reader, section, "addresses", show(out.addresses));
  section.truth("proxy_neighbours", out.proxy_neighbours);
  if (section.number("mtu", out.mtu, kIpv4MtuMin, 65'535)) check_mtu(reader, section, out.mtu, has_v6);
  section.finish();
  return out;
}

Route read_route(Reader& reader, const Found& item, const Names& ports, Names& destinations) {
  Route out;
  Section section(reader, item.key, item.node, true);
  std::string to, via;
  if (section.text("to", to, true, "an address block, as 10.0.0.0/8,")) {
    const std::optional<Prefix> prefix = Prefix::parse(to);
    if (!prefix) {
      reader.refuse(section.find("to"), "an address block, as 10.0.0.0/8,");
    } else {
      out.to = *prefix;
      destinations.take(section.find("to"), prefix->to_string());
    }
  }
  if (section.text("via", via, false, "the address of a router")) {
    const Found found = section.find("via");
    out.via = read_address(reader, found);
    if (out.via && !to.empty() && out.via->is_v4() != out.to.address.is_v4()) {
      reader.problem(found, "a router of the same address family as `to` is accepted, not " + via);
    }
  }
  if (section.text("port", out.port, true, "the name of one of the ports") && !ports.contains(out.port)) {
    const std::string all = ports.all();
    reader.problem(section.find("port"),
                   "no port has the name `" + out.port + "`; " + (all.empty() ? "there are none" : "accepted: " + all));
  }
  section.finish();
  return out;
}

Attachment read_attachment(Reader& reader, const Found& item, Names& ids, Names& devices, AddressBook& book) {
  Attachment out;
  Section section(reader, item.key, item.node, true);
  if (section.text("id", out.id, true, "1 to 255 characters without blanks, not beginning with `port:`,",
                   is_attachment_id)) {
    ids.take(section.find("id"), out.id);
  }
  section.path("netns", out.netns, true);
  if (section.text("interface", out.interface, true, kInterfaceName, is_interface_name) && !out.netns.empty()) {
    devices.take(section.find("interface"), out.netns + " " + out.interface);
  }
  section.text("workload", out.workload, true, "a workload as namespace/name", is_workload);

  constexpr std::string_view kAddresses = "a list of addresses, at least one";
  const Found given = section.find("addresses");
  const std::vector<Found> items = section.list("addresses", kAddresses);
  bool has_v6 = false;
  for (const Found& found : items) {
    const std::optional<IpAddress> address = read_address(reader, found);
    if (!address) continue;
    book.own(found, *address);
    out.addresses.push_back(*address);
    has_v6 = has_v6 || !address->is_v4();
  }
  if (!given.node) {
    if (section.line() != 0) reader.problem(given, "missing; accepted: " + std::string(kAddresses));
  } else if (items.empty() &&
             (given.node->kind == YamlNode::Kind::kList || given.node->kind == YamlNode::Kind::kNull)) {
    reader.refuse(given, kAddresses);
  }
  show_list(reader, section, "addresses", show(out.addresses));

  for (const Found& found : section.list("gateway", "a list of addresses, at most one per family,")) {
    const std::optional<IpAddress> address = read_address(reader, found);
    if (!address) continue;
    const bool taken = std::any_of(out.gateways.begin(), out.gateways.end(),
                                   [&](const IpAddress& other) { return other.is_v4() == address->is_v4(); });
    if (taken) {
      reader.problem(found, std::string("one ") + (address->is_v4() ? "IPv4" : "IPv6") + " gateway is accepted, " +
                                address->to_string() + " is a second");
      continue;
    }
    book.gateway(found, *address);
    out.gateways.push_back(*address);
  }
  show_list(reader, section, "gateway", show(out.gateways));
  if (section.number("mtu", out.mtu, kIpv4MtuMin, 65'535)) check_mtu(reader, section, out.mtu, has_v6);
  section.finish();
  return out;
}

}  // namespace

void read_lists(Section& top, Reader& reader, Config& out) {
  AddressBook book(reader);
  Names ports(reader, "name"), devices(reader, "device"), destinations(reader, "route to"), ids(reader, "id");
  for (const Found& item : top.list("ports", "a list of ports")) {
    out.ports.push_back(read_port(reader, item, ports, devices, book));
  }
  for (const Found& item : top.list("routes", "a list of routes")) {
    out.routes.push_back(read_route(reader, item, ports, destinations));
  }
  for (const Found& item : top.list("attachments", "a list of attachments")) {
    out.attachments.push_back(read_attachment(reader, item, ids, devices, book));
  }
  book.finish();
}

}  // namespace culvert::config
