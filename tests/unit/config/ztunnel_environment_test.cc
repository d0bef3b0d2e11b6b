// ztunnel's variables: each has one fate, and a value that Culvert cannot honour stops the start with one sentence.
#include "config/ztunnel_environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "config/load.h"

namespace culvert::config {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Lookup lookup(std::map<std::string, std::string> variables) {
  return [variables = std::move(variables)](const std::string& name) -> std::optional<std::string> {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional<std::string>(found->second);
  };
}

Loaded loaded(std::map<std::string, std::string> variables, const std::string& text = "node: {name: n1}") {
  Overrides overrides;
  overrides.environment = lookup(std::move(variables));
  auto out = parse(text, "c.yaml", overrides);
  if (!out) {
    for (const std::string& problem : out.error()) ADD_FAILURE() << problem;
    return {};
  }
  return std::move(*out);
}

TEST(ZtunnelEnvironment, NamesOnlyKeysThatExist) {
  Overrides overrides;
  const auto all = parse("node: {name: n1}", "c.yaml", overrides);
  ASSERT_TRUE(all.ok());
  for (const ZtunnelVariable& variable : ztunnel_variables()) {
    if (variable.fate != Fate::kKey) continue;
    bool found = false;
    for (const Effective& row : all->effective) found = found || row.key == variable.what;
    for (const EnvironmentName& name : environment_names()) found = found || name.variable == variable.name;
    EXPECT_TRUE(found) << variable.name;
  }
}

TEST(ZtunnelEnvironment, EachVariableOfAKeyReachesIt) {
  const std::map<std::string, std::string> values = {{"drain.deadline", "7s"},
                                                     {"istiod.secret_ttl", "7h"},
                                                     {"istiod.on_demand", "true"},
                                                     {"log.format", "json"},
                                                     {"workers.count", "7"}};
  for (const ZtunnelVariable& variable : ztunnel_variables()) {
    if (variable.fate != Fate::kKey) continue;
    const std::string key(variable.name == "TERMINATION_GRACE_PERIOD_SECONDS" ? "drain.deadline" : variable.what);
    const bool is_grace = variable.name == "TERMINATION_GRACE_PERIOD_SECONDS";
    const std::string value = is_grace ? "30" : values.contains(key) ? values.at(key) : "/name";
    const std::string name_value =
        key.starts_with("node.") || key.ends_with("server_name") || key.find("pod_") != std::string::npos ? "name"
                                                                                                          : value;
    const Loaded one = loaded({{std::string(variable.name), name_value}});
    bool reached = false;
    for (const Effective& row : one.effective) {
      if (row.key == key) reached = row.origin == "environment " + std::string(variable.name);
    }
    EXPECT_TRUE(reached) << variable.name << " -> " << key;
  }
}

TEST(ZtunnelEnvironment, WhatItsChartSetsStartsCulvert) {
  // The stock DaemonSet's variables.
  const Loaded one = loaded({{"CA_ADDRESS", "istiod.istio-system.svc:15012"},
                             {"XDS_ADDRESS", "istiod.istio-system.svc:15012"},
                             {"RUST_LOG", "info"},
                             {"RUST_BACKTRACE", "1"},
                             {"ISTIO_META_CLUSTER_ID", "Kubernetes"},
                             {"INPOD_ENABLED", "true"},
                             {"TERMINATION_GRACE_PERIOD_SECONDS", "30"},
                             {"POD_NAME", "ztunnel-x"},
                             {"POD_NAMESPACE", "istio-system"},
                             {"NODE_NAME", "n7"},
                             {"INSTANCE_IP", "10.0.0.7"},
                             {"SERVICE_ACCOUNT", "ztunnel"},
                             {"ZTUNNEL_CPU_LIMIT", "8"}});
  EXPECT_EQ(one.config.node.name, "n7");
  EXPECT_EQ(one.config.istiod.address, "istiod.istio-system.svc:15012");
  EXPECT_EQ(one.config.istiod.pod_name, "ztunnel-x");
  EXPECT_EQ(one.config.istiod.instance_ip, "10.0.0.7");
  EXPECT_EQ(one.config.drain.deadline, 25s);
  EXPECT_THAT(one.notes, ElementsAre("environment INPOD_ENABLED has no effect: attachments say how each pod is reached",
                                     "environment RUST_BACKTRACE has no effect: Culvert is not written in Rust",
                                     "environment SERVICE_ACCOUNT has no effect: the token says who the agent is",
                                     "environment ZTUNNEL_CPU_LIMIT has no effect: workers.count says how many cores "
                                     "poll"));
}

TEST(ZtunnelEnvironment, WhatCannotBeHonouredStopsTheStart) {
  EXPECT_THAT(check_environment(lookup({{"PROXY_MODE", "dedicated"}, {"TLS12_ENABLED", "true"}})).problems,
              ElementsAre("environment PROXY_MODE: `shared` is accepted, not `dedicated`: one Culvert serves a whole "
                          "node",
                          "environment TLS12_ENABLED: `false` is accepted, not `true`: tunnels are TLS 1.3"));
  EXPECT_THAT(check_environment(lookup({{"COMPLIANCE_POLICY", "pqc"}})).problems,
              ElementsAre("environment COMPLIANCE_POLICY: no value is accepted, not `pqc`: key exchange is X25519 and "
                          "P-256"));
  EXPECT_THAT(check_environment(lookup({{"PROXY_MODE", "shared"},
                                        {"TLS12_ENABLED", "false"},
                                        {"COMPLIANCE_POLICY", ""},
                                        {"POOL_UNUSED_RELEASE_TIMEOUT", "300s"}}))
                  .problems,
              IsEmpty());
  Overrides overrides;
  overrides.environment = lookup({{"ENABLE_PROXY", "false"}});
  const auto refused = parse("node: {name: n1}", "c.yaml", overrides);
  ASSERT_FALSE(refused.ok());
  EXPECT_THAT(refused.error(), ElementsAre("environment ENABLE_PROXY: `true` is accepted, not `false`: the data plane "
                                           "is a process of its own: do not start it"));
}

TEST(ZtunnelEnvironment, ValuesAreTurnedIntoOurTerms) {
  const auto value = [](const std::string& name, const std::string& text) {
    return in_our_terms(lookup({{name, text}}), 8)(name);
  };
  struct Row {
    const char *name, *given, *ours;
  };
  for (const Row& row :
       {Row{"TERMINATION_GRACE_PERIOD_SECONDS", "30", "25s"}, Row{"TERMINATION_GRACE_PERIOD_SECONDS", "11", "6s"},
        Row{"TERMINATION_GRACE_PERIOD_SECONDS", "10", "9s"}, Row{"TERMINATION_GRACE_PERIOD_SECONDS", "1", "1s"},
        Row{"TERMINATION_GRACE_PERIOD_SECONDS", "0", "1s"}, Row{"TERMINATION_GRACE_PERIOD_SECONDS", "soon", "soon"},
        Row{"ZTUNNEL_WORKER_THREADS", "3", "3"}, Row{"ZTUNNEL_WORKER_THREADS", "0", "8"},
        Row{"ZTUNNEL_WORKER_THREADS", "50%", "4"}, Row{"ZTUNNEL_WORKER_THREADS", "1%", "1"},
        Row{"ZTUNNEL_WORKER_THREADS", "900%", "8"}, Row{"XDS_ADDRESS", "", ""}}) {
    EXPECT_EQ(value(row.name, row.given), row.ours) << row.name << "=" << row.given;
  }
  EXPECT_EQ(value("NODE_NAME", ""), std::nullopt);
}

TEST(ZtunnelEnvironment, TheDeadlineWinsOverTheGracePeriod) {
  EXPECT_EQ(loaded({{"TERMINATION_GRACE_PERIOD_SECONDS", "30"}, {"CONNECTION_TERMINATION_DEADLINE", "3s"}})
                .config.drain.deadline,
            3s);
}

TEST(ZtunnelEnvironment, InKubernetesIstiodHasItsPlace) {
  EXPECT_EQ(loaded({{"KUBERNETES_SERVICE_HOST", "10.96.0.1"}}).config.istiod.address,
            "https://istiod.istio-system.svc:15012");
  EXPECT_EQ(loaded({{"KUBERNETES_SERVICE_HOST", "10.96.0.1"}, {"XDS_ADDRESS", ""}}).config.istiod.address, "");
  EXPECT_EQ(loaded({{"KUBERNETES_SERVICE_HOST", "10.96.0.1"}}, "node: {name: n1}\nistiod: {address: \"a:1\"}")
                .config.istiod.address,
            "a:1");
}

TEST(ZtunnelEnvironment, ProxyConfigStandsInForVariablesThatAreNotSet) {
  const std::string proxy = "discoveryAddress: other:15012\nconcurrency: 2\nproxyMetadata: {A: b, ISTIO_META_X: y}\n";
  EXPECT_EQ(loaded({{"PROXY_CONFIG", proxy}}).config.istiod.address, "https://other:15012");
  EXPECT_EQ(loaded({{"PROXY_CONFIG", proxy}}).config.workers.count, 2u);
  EXPECT_EQ(loaded({{"PROXY_CONFIG", proxy}, {"XDS_ADDRESS", "mine:1"}}).config.istiod.address, "mine:1");
  EXPECT_THAT(parse_proxy_config(proxy).metadata,
              ElementsAre(std::pair<std::string, std::string>("A", "b"),
                          std::pair<std::string, std::string>("ISTIO_META_X", "y")));
  EXPECT_THAT(check_environment(lookup({{"PROXY_CONFIG", "concurrency: many"}})).problems,
              ElementsAre("environment PROXY_CONFIG: concurrency: 0 to 1024 is accepted, not `many`"));
  EXPECT_THAT(check_environment(lookup({{"PROXY_CONFIG", "- a"}})).problems,
              ElementsAre("environment PROXY_CONFIG: a map is accepted, not a list"));
}

TEST(ZtunnelEnvironment, VariablesUnderAPrefixComeInOrder) {
  setenv("CULVERT_TEST_PREFIX_b", "2", 1);
  setenv("CULVERT_TEST_PREFIX_a", "1=1", 1);
  EXPECT_THAT(
      process_environment_under("CULVERT_TEST_PREFIX_"),
      ElementsAre(std::pair<std::string, std::string>("a", "1=1"), std::pair<std::string, std::string>("b", "2")));
  unsetenv("CULVERT_TEST_PREFIX_a");
  unsetenv("CULVERT_TEST_PREFIX_b");
}

}  // namespace
}  // namespace culvert::config
