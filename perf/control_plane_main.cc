// culvert-perf-control-plane: what the agent costs beside a mesh of a given size, and how fast a change takes effect.
//
// Three processes, so that each one's CPU and memory is its own: a fake istiod, the agent's rooms (xDS client, mesh
// store, southbound) and the data plane's control room with its real mesh builder, over real TLS, gRPC and Unix
// sockets.
//
//   sync    from the client's start until the data plane has published the whole mesh
//   idle    nothing happens
//   churn   changes of single workloads at a steady rate; each is timed from the moment istiod is told of it (which is
//           before its arrival at the agent) until the snapshot that holds it is published to the workers
//
// Prints one JSON document of measures.
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "control/server.h"
#include "node/pod_link.h"
#include "reconcile/mesh_store.h"
#include "southbound/southbound.h"
#include "tests/testkit/fake_istiod.h"
#include "tests/testkit/mesh_messages.h"
#include "tests/unit/control/fake_node.h"
#include "xds/client.h"

namespace culvert::perf {
namespace {

using namespace std::chrono_literals;
using Json = nlohmann::ordered_json;

constexpr uint32_t kChangesMax = 200'000;

int64_t now_ns() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

double cpu_seconds() {
  rusage used;
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6;
  };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

double resident_mb() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    double kb = 0;
    if (word == "VmRSS:" && status >> kb) return kb / 1024;
  }
  return 0;
}

// What the three processes share. Each field has one writer.
struct Board {
  std::atomic<bool> istiod_ready, start_churn, churn_done, end;
  std::atomic<uint32_t> workloads_published, changes_pushed, changes_seen;
  std::atomic<uint64_t> publications;
  std::atomic<double> data_plane_cpu;
  int64_t pushed_at[kChangesMax], seen_at[kChangesMax];
};

struct Settings {
  uint32_t workloads = 1000;
  uint32_t rate = 1000;  // changes per second
  std::chrono::seconds idle{10}, churn{15};
  uint32_t changes() const { return rate * static_cast<uint32_t>(churn.count()); }
};

// A pod of a deployment of ten, one service each, a hundred nodes.
reconcile::Workload pod(uint32_t n, uint32_t revision) {
  reconcile::Workload w;
  const std::string name_space = "ns-" + std::to_string(n / 1000), app = "app-" + std::to_string(n / 10);
  w.name = app + "-7d4b9c6f5d-" + std::to_string(n);
  w.name_space = name_space;
  w.uid = "Kubernetes//Pod/" + name_space + "/" + w.name;
  w.addresses = {IpAddress::v4(0x0a000000u + n)};
  w.tunnel = reconcile::Tunnel::kHbone;
  w.trust_domain = "cluster.local";
  w.service_account = app;
  w.node = "node-" + std::to_string(n % 100);
  w.cluster = "Kubernetes";
  w.workload_name = w.canonical_name = app;
  w.type = reconcile::WorkloadType::kPod;
  w.canonical_revision = std::to_string(revision);
  w.services[name_space + "/" + app + "." + name_space + ".svc.cluster.local"] = {{80, 8080}};
  return w;
}

reconcile::Mesh mesh_of(uint32_t workloads) {
  reconcile::Mesh mesh;
  for (uint32_t n = 0; n < workloads; ++n) {
    reconcile::Workload w = pod(n, 0);
    if (n % 10 == 0) {
      reconcile::Service s;
      s.name = w.workload_name;
      s.name_space = w.name_space;
      s.hostname = s.name + "." + s.name_space + ".svc.cluster.local";
      s.vips = {{"", IpAddress::v4(0x0b000000u + n / 10)}};
      s.ports[80] = 8080;
      s.canonical = true;
      mesh.services[s.key()] = s;
    }
    if (n % 100 == 0) {
      reconcile::Policy p;
      p.name = "allow-" + w.workload_name;
      p.name_space = w.name_space;
      p.scope = reconcile::PolicyScope::kWorkloadSelector;
      reconcile::Match match;
      match.namespaces.push_back({reconcile::StringMatch::Kind::kExact, w.name_space});
      p.rules = {{{match}}};
      mesh.policies[p.key()] = p;
      w.authorization_policies.push_back(p.key());
    }
    mesh.workloads[w.uid] = std::move(w);
  }
  return mesh;
}

// Spread over the mesh, each time another one.
uint32_t changed(uint32_t change, uint32_t workloads) { return static_cast<uint32_t>(change * 7919ULL % workloads); }

// Called with each snapshot as it is published.
void note_published(Board& board, uint32_t workloads, const snapshot::Mesh& published) {
  const int64_t now = now_ns();
  board.publications++;
  board.workloads_published = static_cast<uint32_t>(published.workload_count());
  // Changes come in order; a later change of the same pod shows that the earlier one was there, or was overtaken.
  for (uint32_t next = board.changes_seen; next < board.changes_pushed; ++next) {
    const snapshot::Workload* w = published.workload(pod(changed(next, workloads), 0).uid);
    if (!w || static_cast<uint32_t>(std::atol(w->canonical_revision.c_str())) < next + 1) break;
    board.seen_at[next] = now;
    board.changes_seen = next + 1;
  }
}

class RealClock final : public worker::Clock {
 public:
  Instant now() override { return Instant(std::chrono::steady_clock::now().time_since_epoch()); }
  UnixTime calendar() override { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }
};

class Silent final : public log::Log {
 public:
  void write(log::Level level, std::string_view line) override {
    if (level == log::Level::kError) std::fprintf(stderr, "%.*s\n", static_cast<int>(line.size()), line.data());
  }
};

template <class Done>
void wait_for(Done done, const char* what) {
  for (int i = 0; i < 12'000; ++i) {
    if (done()) return;
    std::this_thread::sleep_for(10ms);
  }
  std::fprintf(stderr, "gave up waiting for %s\n", what);
  std::exit(1);
}

void run_istiod(Board& board, const Settings& settings, const std::string& folder) {
  auto istiod = testkit::FakeIstiod::start({.address = "127.0.0.1:15912"});
  if (!istiod) {
    std::fprintf(stderr, "%s\n", istiod.error().c_str());
    std::exit(1);
  }
  (*istiod)->write_client_files(folder);
  (*istiod)->set_mesh(mesh_of(settings.workloads));
  board.istiod_ready = true;
  wait_for([&] { return board.start_churn.load() || board.end.load(); }, "the churn");
  const int64_t begin = now_ns();
  for (uint32_t next = 0; next < settings.changes() && !board.end;) {
    const auto due = static_cast<uint32_t>((now_ns() - begin) * settings.rate / 1'000'000'000);
    std::vector<testkit::XdsResource> batch;
    const uint32_t first = next;
    for (; next < std::min(due, settings.changes()); ++next) {
      const auto w = pod(changed(next, settings.workloads), next + 1);
      batch.push_back(testkit::resource(testkit::message_of(w)));
    }
    const int64_t now = now_ns();
    for (uint32_t i = first; i < next; ++i) board.pushed_at[i] = now;
    board.changes_pushed = next;
    if (!batch.empty()) (*istiod)->set(std::move(batch));
    std::this_thread::sleep_for(1ms);
  }
  board.churn_done = true;
  wait_for([&] { return board.end.load(); }, "the end");
}

void run_data_plane(Board& board, const Settings& settings, const std::string& folder) {
  control::FakeNode node;
  node.on_mesh = [&](const snapshot::Mesh& mesh) { note_published(board, settings.workloads, mesh); };
  RealClock clock;
  control::ServerOptions options;
  options.socket = folder + "/control.sock";
  options.descriptors = folder + "/descriptors.sock";
  options.node = "node-1";
  options.build = "perf";
  options.log_fd = -1;
  options.notice = [](const std::string&) {};
  auto server = control::Server::start(options, node, clock);
  if (!server) {
    std::fprintf(stderr, "%s\n", server.error().c_str());
    std::exit(1);
  }
  while (!board.end) {
    board.data_plane_cpu = cpu_seconds();
    std::this_thread::sleep_for(5ms);
  }
}

Json row(const Settings& settings, const char* name, const char* unit, double value, double low, double high,
         Json target = nullptr, Json met = nullptr) {
  return {{"suite", "controlplane"},
          {"name", name},
          {"params", {{"workloads", settings.workloads}}},
          {"unit", unit},
          {"value", value},
          {"low", low},
          {"high", high},
          {"repeats", 1},
          {"rival", nullptr},
          {"ratio", nullptr},
          {"target", target},
          {"met", met},
          {"limited_by", nullptr}};
}

Json measure(const Settings& settings) {
  char pattern[] = "/tmp/culvert-perf-XXXXXX";
  const std::string folder = ::mkdtemp(pattern);
  void* shared = ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto& board = *new (shared) Board();
  // Before any thread or gRPC: each child begins with nothing.
  std::vector<pid_t> children;
  for (const auto run : {run_istiod, run_data_plane}) {
    const pid_t child = ::fork();
    if (child == 0) {
      run(board, settings, folder);
      std::_Exit(0);
    }
    children.push_back(child);
  }
  Json measures = Json::array();
  const pid_t agent = ::fork();
  if (agent == 0) {
    wait_for([&] { return board.istiod_ready.load(); }, "istiod");
    Silent log;
    reconcile::MeshStore store("node-1", {reconcile::Source::kIstiod});
    node::KernelLinks links;
    southbound::Options south;
    south.control_socket = folder + "/control.sock";
    south.descriptor_socket = folder + "/descriptors.sock";
    south.node = "node-1";
    south.build = "perf";
    const double cpu_before = cpu_seconds(), data_plane_before = board.data_plane_cpu;
    const double resident_before = resident_mb();
    const int64_t begin = now_ns();
    southbound::Southbound southbound(south, store, links, {}, log);
    xds::Options options;
    options.istiod.address = "https://127.0.0.1:15912";
    options.istiod.server_name = "localhost";
    options.istiod.root = folder + "/root-cert.pem";
    options.istiod.token = folder + "/istio-token";
    options.node.pod_name = "ztunnel-x";
    options.node.pod_namespace = "istio-system";
    options.node.node_name = "node-1";
    auto client = xds::Client::make(options, store, log);
    southbound.start();
    (*client)->start();
    wait_for([&] { return board.workloads_published == settings.workloads; }, "the first sync");
    const double sync = static_cast<double>(now_ns() - begin) * 1e-9;
    const auto add = [&](const char* name, const char* unit, double value, Json target = nullptr) {
      const Json met = target.is_null() ? Json(nullptr) : Json(value <= target.get<double>());
      measures.push_back(row(settings, name, unit, value, value, value, target, met));
    };
    add("sync time", "s", sync);
    add("sync CPU of the agent", "CPU s", cpu_seconds() - cpu_before);
    std::this_thread::sleep_for(50ms);
    add("sync CPU of the data plane's control", "CPU s", board.data_plane_cpu - data_plane_before);
    add("memory of the agent after sync", "MB", resident_mb());
    add("memory of the agent before", "MB", resident_before);

    std::this_thread::sleep_for(500ms);
    double cpu = cpu_seconds();
    std::this_thread::sleep_for(settings.idle);
    add("idle agent", "% of a core", (cpu_seconds() - cpu) * 100 / static_cast<double>(settings.idle.count()));

    cpu = cpu_seconds();
    const double data_plane = board.data_plane_cpu;
    const uint64_t publications = board.publications;
    board.start_churn = true;
    wait_for([&] { return board.churn_done.load() && board.changes_seen == settings.changes(); }, "the last change");
    const double span = static_cast<double>(board.seen_at[settings.changes() - 1] - board.pushed_at[0]) * 1e-9;
    add("churn, agent", "% of a core", (cpu_seconds() - cpu) * 100 / span, 50.0);
    std::this_thread::sleep_for(50ms);
    add("churn, data plane's control", "% of a core", (board.data_plane_cpu - data_plane) * 100 / span);
    add("churn, publications", "per second", static_cast<double>(board.publications - publications) / span);
    std::vector<double> delays;
    for (uint32_t i = 0; i < settings.changes(); ++i) {
      delays.push_back(static_cast<double>(board.seen_at[i] - board.pushed_at[i]) * 1e-6);
    }
    std::sort(delays.begin(), delays.end());
    const auto at = [&](double share) {
      return delays[static_cast<size_t>(share * static_cast<double>(delays.size() - 1))];
    };
    const Json p50 = 5.0, p99 = 50.0;
    measures.push_back(row(settings, "change to effect, p50", "ms", at(0.5), at(0), at(1), p50, at(0.5) <= 5));
    measures.push_back(row(settings, "change to effect, p99", "ms", at(0.99), at(0), at(1), p99, at(0.99) <= 50));
    add("memory of the agent after churn", "MB", resident_mb());
    std::ofstream(folder + "/measures.json") << measures.dump();
    (*client)->stop();
    southbound.stop();
    std::_Exit(0);
  }
  children.push_back(agent);
  int status = 0;
  ::waitpid(agent, &status, 0);
  board.end = true;
  ::waitpid(children[0], nullptr, 0);
  ::waitpid(children[1], nullptr, 0);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    std::ifstream file(folder + "/measures.json");
    measures = Json::parse(file);
  }
  std::filesystem::remove_all(folder);
  ::munmap(shared, sizeof(Board));
  if (measures.empty()) std::exit(1);
  return measures;
}

}  // namespace
}  // namespace culvert::perf

int main(int argc, char** argv) {
  using namespace culvert::perf;
  const bool quick = argc > 1 && std::string(argv[1]) == "--quick";
  Json measures = Json::array();
  for (const uint32_t workloads : quick ? std::vector<uint32_t>{1000} : std::vector<uint32_t>{1000, 10'000, 100'000}) {
    Settings settings;
    settings.workloads = workloads;
    if (quick) settings.idle = settings.churn = std::chrono::seconds(3);
    for (Json& one : measure(settings)) measures.push_back(std::move(one));
  }
  std::printf("%s\n", Json{{"measures", measures}}.dump(2).c_str());
  return 0;
}
