// rtnetlink by libnl. Each call opens its own socket, since a socket belongs to the namespace it was opened in.
//
// Duplicate address detection is left out per address (IFA_F_NODAD): the only neighbour on the link is the node, which
// knows whose address it is, and a second of waiting would be the pod's first failure.
#include "node/interface.h"

#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>

#include <algorithm>
#include <fstream>
#include <memory>

namespace culvert::node {
namespace {

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* object) const {
    Free(object);
  }
};
using SocketPtr = std::unique_ptr<nl_sock, Freed<nl_socket_free>>;
using LinkPtr = std::unique_ptr<rtnl_link, Freed<rtnl_link_put>>;
using AddressPtr = std::unique_ptr<nl_addr, Freed<nl_addr_put>>;
using RecordPtr = std::unique_ptr<rtnl_addr, Freed<rtnl_addr_put>>;
using RoutePtr = std::unique_ptr<rtnl_route, Freed<rtnl_route_put>>;
using CachePtr = std::unique_ptr<nl_cache, Freed<nl_cache_free>>;

using Done = Result<void, std::string>;

int family_of(const IpAddress& address) { return address.is_v4() ? AF_INET : AF_INET6; }

// `bits` of -1: a host.
AddressPtr to_nl(const IpAddress& address, int bits = -1) {
  const ByteView wire = address.wire();
  AddressPtr out(nl_addr_build(family_of(address), wire.data(), wire.size()));
  if (bits >= 0) nl_addr_set_prefixlen(out.get(), bits);
  return out;
}

class Interface {
 public:
  static Result<Interface, std::string> open(const std::string& name) {
    Interface out;
    out.name_ = name;
    out.socket_.reset(nl_socket_alloc());
    if (const int error = nl_connect(out.socket_.get(), NETLINK_ROUTE); error < 0) {
      return std::string("cannot open a netlink socket: ") + nl_geterror(error);
    }
    rtnl_link* link = nullptr;
    if (const int error = rtnl_link_get_kernel(out.socket_.get(), 0, name.c_str(), &link); error < 0) {
      return "there is no interface " + name + ": " + nl_geterror(error);
    }
    out.link_.reset(link);
    out.index_ = rtnl_link_get_ifindex(link);
    return out;
  }

  Done set_link(const MacAddress& mac, uint16_t mtu) {
    const LinkPtr change(rtnl_link_alloc());
    rtnl_link_set_ifindex(change.get(), index_);
    rtnl_link_set_name(change.get(), name_.c_str());
    bool differs = false;
    const AddressPtr wanted(nl_addr_build(AF_LLC, mac.data(), mac.size()));
    const nl_addr* present = rtnl_link_get_addr(link_.get());
    if (present == nullptr || nl_addr_get_len(present) != mac.size() ||
        !std::equal(mac.begin(), mac.end(), static_cast<const uint8_t*>(nl_addr_get_binary_addr(present)))) {
      rtnl_link_set_addr(change.get(), wanted.get());
      differs = true;
    }
    if (rtnl_link_get_mtu(link_.get()) != mtu) {
      rtnl_link_set_mtu(change.get(), mtu);
      differs = true;
    }
    if ((rtnl_link_get_flags(link_.get()) & IFF_UP) == 0) {
      rtnl_link_set_flags(change.get(), IFF_UP);
      differs = true;
    }
    if (!differs) return {};
    return outcome(rtnl_link_change(socket_.get(), link_.get(), change.get(), 0), "set MAC, MTU and up");
  }

  Done set_addresses(const std::vector<IpAddress>& addresses) {
    nl_cache* cache = nullptr;
    if (const int error = rtnl_addr_alloc_cache(socket_.get(), &cache); error < 0)
      return outcome(error, "read addresses");
    const CachePtr owner(cache);
    std::vector<IpAddress> present;
    for (nl_object* o = nl_cache_get_first(cache); o != nullptr; o = nl_cache_get_next(o)) {
      auto* record = reinterpret_cast<rtnl_addr*>(o);
      if (rtnl_addr_get_ifindex(record) != index_ || rtnl_addr_get_scope(record) != RT_SCOPE_UNIVERSE) continue;
      const auto address = from_nl(rtnl_addr_get_local(record));
      if (!address) continue;
      const bool host = rtnl_addr_get_prefixlen(record) == (address->is_v4() ? 32 : 128);
      if (host && std::find(addresses.begin(), addresses.end(), *address) != addresses.end()) {
        present.push_back(*address);
      } else if (const int error = rtnl_addr_delete(socket_.get(), record, 0); error < 0) {
        return outcome(error, "take address " + address->to_string() + " away");
      }
    }
    for (const IpAddress& address : addresses) {
      if (std::find(present.begin(), present.end(), address) != present.end()) continue;
      const RecordPtr record(rtnl_addr_alloc());
      rtnl_addr_set_ifindex(record.get(), index_);
      rtnl_addr_set_family(record.get(), family_of(address));
      rtnl_addr_set_local(record.get(), to_nl(address).get());
      rtnl_addr_set_prefixlen(record.get(), address.is_v4() ? 32 : 128);
      if (!address.is_v4()) rtnl_addr_set_flags(record.get(), IFA_F_NODAD);
      if (const int error = rtnl_addr_add(socket_.get(), record.get(), NLM_F_REPLACE); error < 0) {
        return outcome(error, "add address " + address.to_string());
      }
    }
    return {};
  }

  Done set_default_route(int family, const IpAddress* gateway) {
    nl_cache* cache = nullptr;
    if (const int error = rtnl_route_alloc_cache(socket_.get(), family, 0, &cache); error < 0) {
      return outcome(error, "read routes");
    }
    const CachePtr owner(cache);
    bool present = false;
    for (nl_object* o = nl_cache_get_first(cache); o != nullptr; o = nl_cache_get_next(o)) {
      auto* route = reinterpret_cast<rtnl_route*>(o);
      if (!is_own_default(route)) continue;
      const nl_addr* via = rtnl_route_nh_get_gateway(rtnl_route_nexthop_n(route, 0));
      if (gateway != nullptr && via != nullptr && from_nl(via) == *gateway) {
        present = true;
      } else if (const int error = rtnl_route_delete(socket_.get(), route, 0); error < 0) {
        return outcome(error, "take a default route away");
      }
    }
    if (present || gateway == nullptr) return {};
    const RoutePtr route(rtnl_route_alloc());
    rtnl_route_set_family(route.get(), static_cast<uint8_t>(family));
    rtnl_route_set_table(route.get(), RT_TABLE_MAIN);
    rtnl_route_set_protocol(route.get(), RTPROT_STATIC);
    rtnl_route_set_scope(route.get(), RT_SCOPE_UNIVERSE);
    rtnl_route_set_type(route.get(), RTN_UNICAST);
    const IpAddress any = gateway->is_v4() ? IpAddress::v4(uint32_t{0}) : IpAddress();
    rtnl_route_set_dst(route.get(), to_nl(any, 0).get());
    rtnl_nexthop* hop = rtnl_route_nh_alloc();
    rtnl_route_nh_set_ifindex(hop, index_);
    rtnl_route_nh_set_gateway(hop, to_nl(*gateway).get());
    rtnl_route_nh_set_flags(hop, RTNH_F_ONLINK);
    rtnl_route_add_nexthop(route.get(), hop);
    return outcome(rtnl_route_add(socket_.get(), route.get(), NLM_F_REPLACE),
                   "set the default route via " + gateway->to_string());
  }

  Done remove() { return outcome(rtnl_link_delete(socket_.get(), link_.get()), "remove it"); }

 private:
  Done outcome(int error, const std::string& doing) const {
    if (error >= 0) return {};
    return "interface " + name_ + ": cannot " + doing + ": " + nl_geterror(error);
  }

  static std::optional<IpAddress> from_nl(const nl_addr* address) {
    if (address == nullptr) return std::nullopt;
    return IpAddress::from_bytes(
        {static_cast<const uint8_t*>(nl_addr_get_binary_addr(address)), nl_addr_get_len(address)});
  }

  bool is_own_default(rtnl_route* route) const {
    nl_addr* to = rtnl_route_get_dst(route);
    if (to == nullptr || nl_addr_get_prefixlen(to) != 0 || rtnl_route_get_table(route) != RT_TABLE_MAIN ||
        rtnl_route_get_type(route) != RTN_UNICAST || rtnl_route_get_nnexthops(route) != 1) {
      return false;
    }
    return rtnl_route_nh_get_ifindex(rtnl_route_nexthop_n(route, 0)) == index_;
  }

  std::string name_;
  SocketPtr socket_;
  LinkPtr link_;
  int index_ = 0;
};

// A namespace may have IPv6 switched off for new interfaces.
Done enable_ipv6(const std::string& name) {
  const std::string path = "/proc/sys/net/ipv6/conf/" + name + "/disable_ipv6";
  std::string value;
  std::ifstream(path) >> value;
  if (value == "0") return {};
  std::ofstream file(path);
  file << "0" << std::flush;
  if (file) return {};
  return "interface " + name + ": IPv6 is switched off and " + path + " cannot be written";
}

}  // namespace

MacAddress stable_mac(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;  // FNV-1a, 64 bits
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  hash ^= hash >> 29;  // the upper bits of FNV-1a move little with the last characters
  hash *= 0xbf58476d1ce4e5b9;
  hash ^= hash >> 32;
  MacAddress mac;
  for (size_t i = 0; i < mac.size(); i++) mac[i] = static_cast<uint8_t>(hash >> (8 * i));
  mac[0] = static_cast<uint8_t>((mac[0] & 0xfc) | 0x02);
  return mac;
}

Done configure(const InterfaceSettings& settings) {
  const auto is_v6 = [](const IpAddress& address) { return !address.is_v4(); };
  if (std::any_of(settings.addresses.begin(), settings.addresses.end(), is_v6)) {
    if (auto ok = enable_ipv6(settings.name); !ok) return ok;
  }
  auto interface = Interface::open(settings.name);
  if (!interface) return interface.error();
  if (auto ok = interface->set_link(settings.mac, settings.mtu); !ok) return ok;
  if (auto ok = interface->set_addresses(settings.addresses); !ok) return ok;
  for (const int family : {AF_INET, AF_INET6}) {
    const auto gateway = std::find_if(settings.gateways.begin(), settings.gateways.end(),
                                      [&](const IpAddress& g) { return family_of(g) == family; });
    const IpAddress* const via = gateway == settings.gateways.end() ? nullptr : &*gateway;
    if (auto ok = interface->set_default_route(family, via); !ok) return ok;
  }
  return {};
}

Done configure_link(const InterfaceSettings& settings) {
  auto interface = Interface::open(settings.name);
  if (!interface) return interface.error();
  return interface->set_link(settings.mac, settings.mtu);
}

Result<bool, std::string> remove_interface(const std::string& name) {
  auto interface = Interface::open(name);
  if (!interface) return false;
  if (auto ok = interface->remove(); !ok) return ok.error();
  return true;
}

}  // namespace culvert::node
