#include "config/sections.h"

#include <algorithm>

namespace culvert::config {

namespace {

// sockaddr_un's sun_path, without its terminating zero.
constexpr size_t kSocketPathMax = 107;

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= 253 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '_';
  });
}

// HOST:PORT of a control plane, with or without a scheme. `http://` is taken here and fails when it is used, as
// ztunnel's does (reference 14.1).
bool is_url_or_empty(std::string_view text) {
  return text.size() <= 2048 && text.find_first_of(" \t\r\n") == std::string_view::npos;
}

bool is_listen_or_empty(std::string_view text) {
  if (text.empty()) return true;
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos || colon == 0) return false;
  const std::optional<uint64_t> port = parse_number(text.substr(colon + 1));
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  const std::optional<IpAddress> address = IpAddress::parse(host);
  return port && *port <= 65535 && address && address->is_v4() == !bracketed;
}

bool is_anything(std::string_view text) { return text.find('\0') == std::string_view::npos; }

bool is_name_or_empty(std::string_view text) { return text.empty() || is_name(text); }

Section open(Section& top, Reader& reader, const char* key) {
  const Found found = top.find(key);
  return Section(reader, key, found.node, false);
}

void socket_path(Section& section, Reader& reader, const char* key, std::string& out) {
  std::string path = out;
  section.path(key, path, false);
  if (path.size() > kSocketPathMax) {
    Found found = section.find(key);
    reader.problem(found, "a path of at most 107 bytes is accepted, this one has " + std::to_string(path.size()));
    return;
  }
  out = path;
}

}  // namespace

void read_node(Section& top, Reader& reader, NodeSection& out) {
  constexpr std::string_view kName = "1 to 253 letters, digits, `.`, `-`, `_`";
  Section section = open(top, reader, "node");
  section.text("name", out.name, true, kName, is_name);
  section.text("network", out.network, false, "up to 253 letters, digits, `.`, `-`, `_`", is_name_or_empty);
  section.text("cluster", out.cluster, false, kName, is_name);
  section.text("trust_domain", out.trust_domain, false, kName, is_name);
  section.finish();
}

void read_control(Section& top, Reader& reader, ControlSection& out) {
  Section section = open(top, reader, "control");
  socket_path(section, reader, "socket", out.socket);
  socket_path(section, reader, "descriptors", out.descriptors);
  if (out.socket == out.descriptors) {
    reader.problem(section.find("descriptors"), "another path than control.socket is accepted, not the same one");
  }
  constexpr std::string_view kAccepted = "a list of user ids, at least one,";
  const Found given = section.find("allowed_uids");
  const std::vector<Found> items = section.list("allowed_uids", kAccepted);
  if (given.node && given.node->kind != YamlNode::Kind::kList && given.node->kind != YamlNode::Kind::kNull) {
    // Said by list().
  } else if (given.node && items.empty()) {
    reader.refuse(given, kAccepted);
  } else if (given.node) {
    out.allowed_uids.clear();
  }
  for (const Found& item : items) {
    const std::optional<uint64_t> uid =
        item.node->kind == YamlNode::Kind::kScalar && !item.node->quoted ? parse_number(item.node->text) : std::nullopt;
    // (uid_t)-1 means "nobody" to the kernel.
    if (!uid || *uid >= 0xffffffffu) {
      reader.refuse(item, "a user id");
    } else if (std::find(out.allowed_uids.begin(), out.allowed_uids.end(), *uid) != out.allowed_uids.end()) {
      reader.problem(item, "user id " + std::to_string(*uid) + " is given twice");
    } else {
      out.allowed_uids.push_back(static_cast<uint32_t>(*uid));
    }
  }
  std::string shown;
  for (const uint32_t uid : out.allowed_uids) shown += (shown.empty() ? "" : ", ") + std::to_string(uid);
  reader.effective("control.allowed_uids", "[" + shown + "]", given.node ? given.place : "default");
  section.finish();
}

void read_memory(Section& top, Reader& reader, MemorySection& out) {
  constexpr HugePages kAll[] = {HugePages::kAuto, HugePages::kAlways, HugePages::kNever};
  Section section = open(top, reader, "memory");
  section.choice("huge_pages", out.huge_pages, kAll);
  section.number("buffers_mb", out.buffers_mb, 16, 1'048'576, "(MiB)");
  section.finish();
}

void read_workers(Section& top, Reader& reader, WorkersSection& out) {
  constexpr Poll kAll[] = {Poll::kAdaptive, Poll::kAlways};
  Section section = open(top, reader, "workers");
  section.number("count", out.count, 1, 64);
  section.choice("poll", out.poll, kAll);
  section.finish();
}

void read_mesh(Section& top, Reader& reader, MeshSection& out) {
  Section section = open(top, reader, "mesh");
  section.path("file", out.file, false);
  section.finish();
}

void read_ca(Section& top, Reader& reader, CaSection& out) {
  Section section = open(top, reader, "ca");
  section.path("dir", out.dir, false);
  section.duration("leaf_lifetime", out.leaf_lifetime, 10s, 720h);
  section.path("crl", out.crl, false);
  section.finish();
}

void read_istiod(Section& top, Reader& reader, IstiodSection& out) {
  constexpr std::string_view kAddress = "https://HOST:PORT, or \"\" for none,";
  constexpr std::string_view kText = "a text";
  constexpr std::string_view kName = "up to 253 letters, digits, `.`, `-`, `_`";
  Section section = open(top, reader, "istiod");
  section.text("address", out.address, false, kAddress, is_url_or_empty);
  section.text("root", out.root, false, "a file, PEM or SYSTEM", is_anything);
  section.text("server_name", out.server_name, false, kName, is_name_or_empty);
  section.text("token", out.token, false, "a file or a token", is_anything);
  section.truth("on_demand", out.on_demand);
  section.text("ca_address", out.ca_address, false, kAddress, is_url_or_empty);
  section.text("ca_root", out.ca_root, false, "a file, PEM or SYSTEM", is_anything);
  section.text("ca_server_name", out.ca_server_name, false, kName, is_name_or_empty);
  section.duration("secret_ttl", out.secret_ttl, 10s, 8760h);
  section.text("pod_name", out.pod_name, false, kName, is_name_or_empty);
  section.text("pod_namespace", out.pod_namespace, false, kName, is_name_or_empty);
  section.text("instance_ip", out.instance_ip, false, kText, is_anything);
  section.finish();
}

void read_admin(Section& top, Reader& reader, AdminSection& out) {
  constexpr std::string_view kListen = "ADDRESS:PORT, [IPv6]:PORT, or \"\" for none,";
  Section section = open(top, reader, "admin");
  section.text("listen", out.listen, false, kListen, is_listen_or_empty);
  section.text("metrics", out.metrics, false, kListen, is_listen_or_empty);
  section.text("readiness", out.readiness, false, kListen, is_listen_or_empty);
  section.finish();
}

void read_drain(Section& top, Reader& reader, DrainSection& out) {
  Section section = open(top, reader, "drain");
  section.duration("deadline", out.deadline, 0s, 24h);
  section.finish();
}

void read_log(Section& top, Reader& reader, LogSection& out) {
  constexpr LogLevel kAll[] = {LogLevel::kError, LogLevel::kWarn, LogLevel::kInfo, LogLevel::kDebug};
  Section section = open(top, reader, "log");
  section.choice("level", out.level, kAll);
  constexpr LogFormat kFormats[] = {LogFormat::kPlain, LogFormat::kJson};
  section.choice("format", out.format, kFormats);
  section.finish();
}

void read_limits(Section& top, Reader& reader, LimitsSection& out) {
  Section section = open(top, reader, "limits");
  section.number("connections", out.connections, 64, 16'777'216);
  section.number("memory_mb", out.memory_mb, 16, 1'048'576, "(MiB)");
  section.finish();
}

}  // namespace culvert::config
