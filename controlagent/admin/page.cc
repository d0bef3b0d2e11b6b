#include "admin/page.h"

namespace culvert::admin {
namespace {

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '>') {
      out += "&gt;";
    } else if (c == '&') {
      out += "&amp;";
    } else if (c == '"') {
      out += "&quot;";
    } else {
      out += c;
    }
  }
  return out;
}

std::string row(std::string_view name, std::string_view value) {
  return "<tr><th>" + escaped(name) + "</th><td>" + escaped(value) + "</td></tr>\n";
}

std::string form(std::string_view action, std::string_view button) {
  return "<form method=\"post\" action=\"" + escaped(action) + "\"><button>" + escaped(button) + "</button></form>\n";
}

std::string count(uint64_t n, const char* one, const char* many) {
  return std::to_string(n) + " " + (n == 1 ? one : many);
}

}  // namespace

std::string html_page(const Page& page) {
  std::string ready = "ready";
  for (size_t i = 0; i < page.pending.size(); ++i) ready += (i == 0 ? ": waits for " : ", ") + page.pending[i];
  if (!page.pending.empty()) ready = "not " + ready;
  std::string data_plane;
  if (page.status) {
    const auto& s = *page.status;
    data_plane = s.build + ", up for " + std::to_string(s.uptime.count() / 1000) + " s, " +
                 count(s.workers.size(), "worker", "workers") + ", " + count(s.attachments, "pod", "pods") + ", " +
                 count(s.sessions, "connection", "connections") + ", " + count(s.tunnels, "tunnel", "tunnels");
  } else {
    data_plane = page.status.error();
  }
  const std::string mesh =
      count(page.mesh.workloads, "workload", "workloads") + ", " + count(page.mesh.services, "service", "services") +
      ", " + count(page.mesh.policies, "policy", "policies") + (page.mesh_known ? "" : ", not complete yet");
  std::string out =
      "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>culvert-agent</title>\n"
      "<style>body{font-family:sans-serif;margin:2em}th{text-align:left;padding-right:2em}form{display:inline}"
      "</style></head>\n<body><h1>culvert-agent</h1>\n<table>\n";
  out += row("node", page.node) + row("version", page.version) + row("state", ready) + row("data plane", data_plane) +
         row("mesh", mesh) + row("log", page.log_filter);
  out += "</table>\n<ul>\n<li><a href=\"config_dump\">config_dump</a>: the mesh, certificates and connections</li>\n";
  out += "<li>log levels: " + form("logging?level=debug", "debug") + form("logging?reset", "reset") + "</li>\n";
  out += "<li>end this node: " + form("quitquitquit", "quit") + "</li>\n</ul></body></html>\n";
  return out;
}

}  // namespace culvert::admin
