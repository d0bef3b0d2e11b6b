// The three faces over HTTP: paths, methods, answers (reference 21), with and without a data plane.
#include "admin/admin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "admin/effective_config.h"
#include "tests/unit/controlagent/admin/fake_sight.h"
#include "tests/unit/controlagent/admin/http_client.h"

namespace culvert::admin {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

class AdminTest : public testing::Test {
 protected:
  AdminTest() {
    log::AgentLogOptions options;
    options.filter = *log::Filter::parse("info");
    options.sink = [this](std::string_view line) { lines_.emplace_back(line); };
    log_ = log::make_agent_log(std::move(options));
    reconcile::Mesh mesh;
    reconcile::Workload w;
    w.uid = "c//Pod/shop/web";
    w.name = "web";
    w.name_space = "shop";
    mesh.workloads[w.uid] = w;
    mesh_.replace(reconcile::Source::kFile, mesh);
  }

  void start() {
    Options options;
    options.admin = options.metrics = "127.0.0.1:0";
    options.readiness = "localhost:0";
    options.version = "1.2.3";
    options.node = "n1";
    Sources sources{.mesh = mesh_,
                    .data_plane = sight_,
                    .static_config = {},
                    .config =
                        [] {
                          return Value(Value::Object{{"clusterId", "Kubernetes"}});
                        },
                    .pods = {},
                    .certificate_errors = {},
                    .pending = [this] { return tasks_; },
                    .counts = {},
                    .filter_changed = [this](const log::Filter& filter) { told_.push_back(filter.to_string()); },
                    .quit = [this] { quits_++; }};
    auto started = Admin::start(options, sources, *log_);
    ASSERT_TRUE(started) << started.error();
    admin_ = std::move(*started);
  }

  Answer get(const std::string& path) { return Client(admin_->admin_address()).get(path); }
  Answer post(const std::string& path) { return Client(admin_->admin_address()).post(path); }
  Answer scrape(const std::string& path, const std::string& headers = "") {
    return Client(admin_->metrics_address()).get(path, headers);
  }
  Answer ready() { return Client(admin_->readiness_address()).get("/healthz/ready"); }

  std::vector<std::string> lines_, told_;
  std::unique_ptr<log::AgentLog> log_;
  reconcile::MeshStore mesh_{"n1", {reconcile::Source::kFile}};
  FakeSight sight_;
  std::set<std::string> tasks_;
  std::atomic<int> quits_{0};
  std::unique_ptr<Admin> admin_;
};

TEST_F(AdminTest, ShowsAPage) {
  start();
  const Answer page = get("/");
  EXPECT_EQ(page.status, 200);
  EXPECT_THAT(page.header("Content-Type"), StartsWith("text/html"));
  EXPECT_THAT(page.body, HasSubstr("<th>node</th><td>n1</td>"));
  EXPECT_THAT(page.body, HasSubstr("1 workload, 0 services, 0 policies"));
  EXPECT_THAT(page.body, HasSubstr("<a href=\"config_dump\">"));
}

TEST_F(AdminTest, DumpsForEveryMethod) {
  start();
  for (const Answer& answer : {get("/config_dump"), post("/config_dump")}) {
    EXPECT_EQ(answer.status, 200);
    EXPECT_EQ(answer.header("Content-Type"), "application/json");
    const json dump = json::parse(answer.body);
    EXPECT_EQ(dump.at("workloads").at(0).at("uid"), "c//Pod/shop/web");
    EXPECT_EQ(dump.at("config").at("clusterId"), "Kubernetes");
    EXPECT_EQ(dump.at("version").at("version"), "1.2.3");
  }
}

TEST_F(AdminTest, KnowsItsPathsAndMethods) {
  start();
  EXPECT_EQ(get("/nothing").status, 404);
  EXPECT_EQ(get("/config_dump/").status, 404);
  EXPECT_EQ(get("/debug/pprof/profile").status, 501);
  EXPECT_EQ(get("/debug/pprof/heap").body, "Profiles are not offered here: use perf on the process instead.\n");
  for (const char* path : {"/logging", "/quitquitquit"}) {
    const Answer answer = get(path);
    EXPECT_EQ(answer.status, 405) << path;
    EXPECT_EQ(answer.header("Allow"), "POST") << path;
  }
  EXPECT_EQ(quits_, 0);
  EXPECT_EQ(scrape("/").status, 404);
  EXPECT_EQ(Client(admin_->metrics_address()).post("/metrics").status, 405);
  EXPECT_EQ(Client(admin_->readiness_address()).get("/healthz").status, 404);
  EXPECT_EQ(Client(admin_->readiness_address()).post("/healthz/ready").status, 405);
}

TEST_F(AdminTest, QuitsWhenToldTo) {
  start();
  const Answer answer = post("/quitquitquit");
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "shutdown now\n");
  EXPECT_EQ(quits_, 1);
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("\tinfo\tadmin\ttold to end by POST /quitquitquit\n")));
}

TEST_F(AdminTest, ChangesTheLevelsOfTheLog) {
  start();
  EXPECT_EQ(post("/logging").body, "current log level is info\n");
  EXPECT_EQ(post("/logging?level=debug").body, "current log level is debug\n");
  // The forms that istioctl sends.
  EXPECT_EQ(post("/logging?level=access=debug").body, "current log level is access=debug,debug\n");
  EXPECT_EQ(post("/logging?level=xds:trace,warn").body, "current log level is access=debug,xds=trace,warn\n");
  EXPECT_EQ(log_->filter().to_string(), "access=debug,xds=trace,warn");
  EXPECT_EQ(post("/logging?reset").body, "current log level is info\n");
  post("/logging?level=error");
  EXPECT_EQ(post("/logging?level=access%3Doff&reset").body, "current log level is access=off,info\n")
      << "first reset, then the level, wherever it stands";
  EXPECT_THAT(told_, ElementsAre("debug", "access=debug,debug", "access=debug,xds=trace,warn", "info", "error",
                                 "access=off,info"));
}

TEST_F(AdminTest, RefusesALevelThatIsNone) {
  start();
  for (const char* spec : {"loud", "", "access", "access=loud", "info,,debug"}) {
    const Answer answer = post("/logging?reset&level=" + std::string(spec));
    EXPECT_EQ(answer.status, 400) << spec;
    EXPECT_THAT(answer.body, StartsWith("Invalid level provided: "));
    EXPECT_THAT(answer.body, HasSubstr("usage: POST /logging"));
  }
  EXPECT_EQ(post("/logging?level=debug").status, 200);
  EXPECT_THAT(told_, ElementsAre("debug")) << "what was refused changed nothing";
}

TEST_F(AdminTest, IsReadyOrSaysWhatFor) {
  start();
  EXPECT_EQ(ready().status, 200);
  EXPECT_EQ(ready().body, "ready\n");
  tasks_ = {"state manager"};
  sight_.go_away();
  EXPECT_EQ(ready().status, 500);
  EXPECT_EQ(ready().body, "not ready, pending: data plane, state manager\n");
}

TEST_F(AdminTest, ServesMetricsUnderBothPathsAndTypes) {
  start();
  const Answer plain = scrape("/metrics");
  EXPECT_EQ(plain.status, 200);
  EXPECT_EQ(plain.header("Content-Type"), "text/plain; charset=utf-8");
  EXPECT_THAT(plain.body, HasSubstr("istio_build{component=\"ztunnel\",tag=\"1.2.3\"} 1\n"));
  EXPECT_TRUE(plain.body.ends_with("# EOF\n"));
  const Answer open = scrape("/stats/prometheus", "Accept: application/openmetrics-text;version=1.0.0\r\n");
  EXPECT_EQ(open.header("Content-Type"), "application/openmetrics-text;charset=utf-8;version=1.0.0");
  EXPECT_TRUE(open.body.ends_with("# EOF\n"));
}

TEST_F(AdminTest, AnswersWithTheDataPlaneAway) {
  sight_.go_away();
  start();
  const json dump = json::parse(get("/config_dump").body);
  EXPECT_EQ(dump.at("workloads").size(), 1u);
  EXPECT_EQ(dump.at("culvert").at("dataPlane").at("connected"), false);
  EXPECT_EQ(dump.at("culvert").at("missing").at(0), southbound::kAway);
  EXPECT_THAT(scrape("/metrics").body, HasSubstr("culvert_data_plane_connected 0\n"));
  EXPECT_THAT(get("/").body, HasSubstr(southbound::kAway));
}

TEST_F(AdminTest, AServerWithoutAnAddressIsNotStarted) {
  Options options;
  options.admin = options.metrics = "";
  options.readiness = "127.0.0.1:0";
  auto started = Admin::start(options,
                              Sources{.mesh = mesh_,
                                      .data_plane = sight_,
                                      .static_config = {},
                                      .config = {},
                                      .pods = {},
                                      .certificate_errors = {},
                                      .pending = {},
                                      .counts = {},
                                      .filter_changed = {},
                                      .quit = {}},
                              *log_);
  ASSERT_TRUE(started);
  EXPECT_EQ((*started)->admin_address().port, 0);
  EXPECT_EQ(Client((*started)->readiness_address()).get("/healthz/ready").status, 200);
}

TEST_F(AdminTest, NamesTheSettingOfAnAddressThatCannotBeUsed) {
  start();
  Options options;
  options.metrics = options.readiness = "";
  options.admin = admin_->admin_address().to_string();
  const auto try_start = [&] {
    auto started = Admin::start(options,
                                Sources{.mesh = mesh_,
                                        .data_plane = sight_,
                                        .static_config = {},
                                        .config = {},
                                        .pods = {},
                                        .certificate_errors = {},
                                        .pending = {},
                                        .counts = {},
                                        .filter_changed = {},
                                        .quit = {}},
                                *log_);
    return started ? "" : started.error();
  };
  EXPECT_EQ(try_start(), "cannot listen on " + options.admin +
                             " for the admin interface: Address already in use; end the process that has it, or set "
                             "admin.listen to another address");
  options.admin = "nowhere";
  EXPECT_EQ(try_start(), "admin.listen: `nowhere` is no ADDRESS:PORT");
}

TEST(EffectiveConfig, HasZtunnelsNamesAndHidesTheToken) {
  config::Config config;
  config.node.name = "n1";
  config.istiod.address = "https://istiod:15012";
  config.istiod.token = "eyJhbGciOi";
  const Value value = effective_config(
      config, {{"istiod.token", "eyJhbGciOi", "environment AUTH_TOKEN"}, {"workers.count", "2", "default"}});
  std::string text;
  JsonWriter writer([&](std::string_view piece) {
    text += piece;
    return true;
  });
  value.write(writer);
  writer.finish();
  const json shown = json::parse(text);
  EXPECT_EQ(shown.at("localNode"), "n1");
  EXPECT_EQ(shown.at("xdsAddress"), "https://istiod:15012");
  EXPECT_EQ(shown.at("caAddress"), "https://istiod:15012") << "as for xDS";
  EXPECT_EQ(shown.at("secretTtl"), json::parse(R"({"secs": 86400, "nanos": 0})"));
  EXPECT_EQ(shown.at("adminAddr").at("SocketAddr"), "127.0.0.1:15000");
  EXPECT_EQ(shown.at("culvert").at("workers.count"), "2");
  EXPECT_EQ(text.find("eyJ"), std::string::npos);
}

}  // namespace
}  // namespace culvert::admin
