#include "admin/admin.h"

#include "admin/logging.h"
#include "admin/page.h"
#include "admin/readiness.h"

namespace culvert::admin {
namespace {

// An istioctl, a Prometheus or two, a kubelet: a few are enough, and what they ask for costs a core for a moment.
constexpr size_t kAdminConnectionsMax = 16;
constexpr size_t kMetricsConnectionsMax = 16;
constexpr size_t kReadinessConnectionsMax = 32;

southbound::WallTime wall_clock() { return std::chrono::floor<southbound::Millis>(std::chrono::system_clock::now()); }

template <class Value>
Value call(const std::function<Value()>& function) {
  return function ? function() : Value();
}

HttpReply refused(int status, std::string body, std::string allow = {}) {
  HttpReply reply;
  reply.status = status;
  reply.body = std::move(body);
  reply.allow = std::move(allow);
  return reply;
}

HttpReply not_found() { return refused(404, "not found\n"); }

bool reads(const HttpRequest& request) { return request.method == "GET" || request.method == "HEAD"; }

// One that did not answer the first question is not made to miss six more deadlines.
template <class Value>
southbound::Seen<Value> ask(const southbound::Seen<southbound::DataPlaneStatus>& status, southbound::Sight& sight,
                            southbound::Seen<Value> (southbound::Sight::*question)()) {
  if (!status) return status.error();
  return (sight.*question)();
}

class RunningAdmin final : public Admin {
 public:
  RunningAdmin(const Options& options, Sources sources, log::AgentLog& log)
      : options_(options), sources_(std::move(sources)), log_(log), logging_(log, sources_.filter_changed) {}

  // The error of the first one that fails.
  Result<void, std::string> serve() {
    const auto open = [](std::unique_ptr<HttpServer>& server, const std::string& text, size_t connections_max,
                         const std::string& what, const std::string& setting,
                         HttpHandler handler) -> Result<void, std::string> {
      if (text.empty()) return {};
      auto address = Endpoint::parse(text.starts_with("localhost:") ? "127.0.0.1" + text.substr(9) : text);
      if (!address) return setting + ": `" + text + "` is no ADDRESS:PORT";
      auto started = serve_http(*address, connections_max, what, setting, std::move(handler));
      if (!started) return started.error();
      server = std::move(*started);
      return {};
    };
    // Readiness first: whoever waits for this agent sees why (reference 21.5).
    auto done = open(readiness_, options_.readiness, kReadinessConnectionsMax, "the readiness probe", "admin.readiness",
                     [this](const HttpRequest& request) { return readiness(request); });
    if (done) {
      done = open(admin_, options_.admin, kAdminConnectionsMax, "the admin interface", "admin.listen",
                  [this](const HttpRequest& request) { return admin(request); });
    }
    if (done) {
      done = open(metrics_, options_.metrics, kMetricsConnectionsMax, "the metrics", "admin.metrics",
                  [this](const HttpRequest& request) { return metrics(request); });
    }
    if (!done) return done;
    for (HttpServer* server : {readiness_.get(), admin_.get(), metrics_.get()}) {
      if (server != nullptr) server->begin();
    }
    return done;
  }

  ~RunningAdmin() override {
    // Before anything they use.
    admin_.reset();
    metrics_.reset();
    readiness_.reset();
  }

  Endpoint admin_address() const override { return admin_ ? admin_->address() : Endpoint(); }
  Endpoint metrics_address() const override { return metrics_ ? metrics_->address() : Endpoint(); }
  Endpoint readiness_address() const override { return readiness_ ? readiness_->address() : Endpoint(); }

 private:
  HttpReply admin(const HttpRequest& request) {
    const std::string& path = request.path;
    if (path == "/") return page();
    if (path == "/config_dump") return config_dump();
    if (path == "/logging" || path == "/quitquitquit") {
      if (request.method != "POST") return refused(405, "only POST is accepted\n", "POST");
      return path == "/logging" ? logging_.post(request) : quit();
    }
    if (path.starts_with("/debug/pprof/")) {
      return refused(501, "Profiles are not offered here: use perf on the process instead.\n");
    }
    return not_found();
  }

  HttpReply metrics(const HttpRequest& request) {
    if (request.path != "/metrics" && request.path != "/stats/prometheus") return not_found();
    if (!reads(request)) return refused(405, "only GET is accepted\n", "GET, HEAD");
    auto scrape = std::make_shared<Scrape>(take_scrape());
    HttpReply reply;
    reply.content_type = metrics_content_type(request.accept);
    reply.stream = [scrape](const Sink& sink) { return write_metrics(*scrape, sink); };
    return reply;
  }

  HttpReply readiness(const HttpRequest& request) {
    if (request.path != "/healthz/ready") return not_found();
    if (!reads(request)) return refused(405, "only GET is accepted\n", "GET, HEAD");
    return readiness_reply(pending());
  }

  std::vector<std::string> pending() {
    std::optional<southbound::Seen<southbound::DataPlaneStatus>> status;
    if (sources_.data_plane.connected()) status = sources_.data_plane.status();
    return pending_tasks(call(sources_.pending), status);
  }

  HttpReply page() {
    Page page;
    page.version = options_.version;
    page.node = options_.node;
    page.mesh = sources_.mesh.counts();
    page.mesh_known = sources_.mesh.is_known();
    page.status = sources_.data_plane.status();
    page.pending = pending_tasks(call(sources_.pending), page.status);
    page.log_filter = log_.filter().to_string();
    HttpReply reply;
    reply.content_type = "text/html; charset=utf-8";
    reply.body = html_page(page);
    return reply;
  }

  HttpReply config_dump() {
    auto dump = std::make_shared<Dump>();
    dump->version = options_.version;
    dump->git_revision = options_.git_revision;
    dump->mesh_known = sources_.mesh.is_known();
    dump->mesh = sources_.mesh.snapshot();
    dump->static_config = call(sources_.static_config);
    dump->config = sources_.config ? sources_.config() : Value(Value::Object());
    dump->pods = call(sources_.pods);
    dump->certificate_errors = call(sources_.certificate_errors);
    dump->connected = sources_.data_plane.connected();
    southbound::Sight& sight = sources_.data_plane;
    dump->status = sight.status();
    dump->certificates = ask(dump->status, sight, &southbound::Sight::certificates);
    dump->attachments = ask(dump->status, sight, &southbound::Sight::attachments);
    dump->sessions = ask(dump->status, sight, &southbound::Sight::sessions);
    HttpReply reply;
    reply.content_type = "application/json";
    reply.stream = [dump](const Sink& sink) { return write_config_dump(*dump, sink); };
    return reply;
  }

  HttpReply quit() {
    log_.write_as("admin", log::Level::kInfo, "told to end by POST /quitquitquit");
    if (sources_.quit) sources_.quit();
    HttpReply reply;
    reply.body = "shutdown now\n";
    return reply;
  }

  Scrape take_scrape() {
    Scrape scrape;
    scrape.version = options_.version;
    scrape.now = wall_clock();
    scrape.agent = call(sources_.counts);
    scrape.mesh_known = sources_.mesh.is_known();
    scrape.mesh = sources_.mesh.counts();
    scrape.pods_wanted = call(sources_.pods).size();
    scrape.open_fds = open_descriptors();
    scrape.max_fds = descriptors_max();
    if (admin_) scrape.http["admin"] = admin_->counts();
    if (metrics_) scrape.http["metrics"] = metrics_->counts();
    if (readiness_) scrape.http["readiness"] = readiness_->counts();
    southbound::Sight& sight = sources_.data_plane;
    scrape.connected = sight.connected();
    scrape.status = sight.status();
    scrape.traffic = ask(scrape.status, sight, &southbound::Sight::traffic);
    scrape.counters = ask(scrape.status, sight, &southbound::Sight::counters);
    scrape.drops = ask(scrape.status, sight, &southbound::Sight::drops);
    scrape.certificates = ask(scrape.status, sight, &southbound::Sight::certificates);
    scrape.attachments = ask(scrape.status, sight, &southbound::Sight::attachments);
    scrape.crl = ask(scrape.status, sight, &southbound::Sight::crl);
    return scrape;
  }

  const Options options_;
  const Sources sources_;
  log::AgentLog& log_;
  Logging logging_;
  // All set before the first request comes: see serve().
  std::unique_ptr<HttpServer> readiness_, admin_, metrics_;
};

}  // namespace

Result<std::unique_ptr<Admin>, std::string> Admin::start(const Options& options, Sources sources, log::AgentLog& log) {
  auto admin = std::make_unique<RunningAdmin>(options, std::move(sources), log);
  const auto done = admin->serve();
  if (!done) return done.error();
  return std::unique_ptr<Admin>(std::move(admin));
}

}  // namespace culvert::admin
