// `culvertctl policy eval`: lines in, lines out; and the same random cases as the data plane's decision is held
// against, through JSON.
#include "ctl/policy_eval.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>

#include "tests/testkit/policy_cases.h"
#include "tests/testkit/policy_oracle.h"
#include "tests/unit/controlagent/ctl/mesh_example.h"
#include "tests/unit/controlagent/ctl/ran.h"

namespace culvert::ctl {
namespace {

using testing::HasSubstr;

const std::string kWebOnly =
    R"({"name": "web-only", "namespace": "shop", "scope": "Namespace", "action": "Allow", "dryRun": false, )"
    R"("rules": [[[{"principals": [{"Exact": "cluster.local/ns/shop/sa/web"}]}]]]})";

std::string line(const std::string& policies, const std::string& identity) {
  return R"({"policies": [)" + policies +
         R"(], "workload": {"namespace": "shop"}, "connection": {"source_identity": )" + identity +
         R"(, "source_ip": "10.0.0.1", "destination_ip": "10.0.0.2", "port": 8080}})";
}

std::string answer(const std::string& text) {
  bool right = true;
  const std::string out = evaluate_line(text, nullptr, "", right);
  EXPECT_TRUE(right) << out;
  return out;
}

TEST(PolicyEval, DecidesByThePoliciesOfTheLine) {
  constexpr const char* kNoDryRun =
      R"("dry_run":{"deny":null,"allow":null,"allow_missed":false},"unknown_policies":[])";
  EXPECT_EQ(answer(line("", "null")),
            std::string(R"({"allow":true,"reason":"no_allow_policy","matched":null,"log":"",)") + kNoDryRun + "}\n");
  EXPECT_EQ(answer(line(kWebOnly, R"("spiffe://cluster.local/ns/shop/sa/web")")),
            std::string(R"({"allow":true,"reason":"allowed","matched":{"policy":"shop/web-only","rule":0},"log":"",)") +
                kNoDryRun + "}\n");
  EXPECT_EQ(answer(line(kWebOnly, "null")),
            std::string(R"({"allow":false,"reason":"none_allowed","matched":null,)") +
                R"("log":"connection closed due to policy rejection: allow policies exist, but none allowed",)" +
                kNoDryRun + "}\n");
  const std::string deny =
      R"({"name": "no", "namespace": "shop", "scope": "Global", "action": "Deny", "dryRun": false, "rules": [[]]})";
  EXPECT_THAT(answer(line(deny + "," + kWebOnly, "null")),
              HasSubstr(R"("reason":"explicitly_denied","matched":{"policy":"shop/no","rule":0})"));
  const std::string dry =
      R"({"name": "dry", "namespace": "shop", "scope": "Global", "action": "Deny", "dryRun": true, "rules": [[]]})";
  EXPECT_THAT(answer(line(dry, "null")), HasSubstr(R"("dry_run":{"deny":"shop/dry","allow":null,)"));
}

TEST(PolicyEval, AWorkloadOfAMeshIsNamed) {
  const control::TemporaryFolder folder;
  const std::string mesh = written(folder, "mesh.yaml", kMeshFile);
  const std::string lines = written(
      folder, "lines",
      R"({"workload": "shop/api-1", "connection": {"source_identity": "spiffe://cluster.local/ns/shop/sa/web", )"
      R"("source_ip": "10.0.1.10", "port": 8080}})"
      "\n\n"
      R"({"workload": "10.0.2.10", "connection": {"source_ip": "10.0.1.10", "port": 8080}})"
      "\n"
      R"({"workload": "Kubernetes//Pod/shop/api-1", "policies": [], )"
      R"("connection": {"source_ip": "10.0.1.10", "port": 8080}})"
      "\n");
  const Ran result = ran({"policy", "eval", "--mesh", mesh, "--in", lines});
  EXPECT_EQ(result.status, kDone) << result.err;
  std::istringstream out(result.out);
  std::string first, second, third, more;
  std::getline(out, first);
  std::getline(out, second);
  std::getline(out, third);
  EXPECT_FALSE(std::getline(out, more)) << "a blank line is no question";
  EXPECT_THAT(first, HasSubstr(R"("matched":{"policy":"shop/web-only","rule":0})"));
  EXPECT_THAT(first, HasSubstr(R"("unknown_policies":["shop/gone"])"));
  EXPECT_THAT(second, HasSubstr(R"("reason":"none_allowed")"));
  EXPECT_THAT(third, HasSubstr(R"("reason":"no_allow_policy")")) << "the line's own policies are all there are";
}

TEST(PolicyEval, ALineThatIsNotAcceptedIsAnsweredAndTheNextOneRead) {
  const control::TemporaryFolder folder;
  const std::pair<std::string, const char*> kRows[] = {
      {"{", R"(["is not JSON: it ends too soon"])"},
      {"[]", R"(["an empty list is not accepted; accepted: a map"])"},
      {R"({"policies": [], "workload": {"namespace": "a"}})", R"(["connection: is required"])"},
      {R"({"workload": {"namespace": "a"}, "connection": {"source_ip": "::1", "destination_ip": "::1", "port": 1}})",
       R"(["policies: is required without --mesh or --config-dump"])"},
      {R"({"policies": [], "workload": "shop/web", )"
       R"("connection": {"source_ip": "::1", "destination_ip": "::1", "port": 1}})",
       R"(["workload: a name needs --mesh or --config-dump; else {\"namespace\", \"policies\"} is accepted"])"},
      {R"({"policies": [], "workload": {"namespace": "a"}, "connection": {"source_identity": "web", )"
       R"("source_ip": "x", "destination_ip": "::1", "port": 65536, "sport": 1}})",
       R"(["connection.source_identity: `web` is not accepted; accepted: )"
       R"(spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT, null",)"
       R"("connection.source_ip: `x` is not accepted; accepted: an IPv4 or IPv6 address",)"
       R"("connection.port: `65536` is not accepted; accepted: a number from 0 to 65535",)"
       R"("connection.sport: is not a key here; accepted: source_identity, source_ip, destination_ip, port"])"},
      {line(R"({"name": "p", "namespace": "a", "scope": "Mesh", "action": "Allow", "dryRun": false, "rules": []})",
            "null"),
       R"(["policies[0].scope: `Mesh` is not accepted; accepted: Global, Namespace, WorkloadSelector"])"},
      {line(kWebOnly + "," + kWebOnly, "null"), R"(["policies[1]: the policy `shop/web-only` is given twice"])"},
  };
  std::string lines, expected;
  int number = 0;
  for (const auto& [text, errors] : kRows) {
    lines += text + "\n";
    expected += "{\"line\":" + std::to_string(++number) + ",\"errors\":" + errors + "}\n";
  }
  lines += line("", "null");
  expected += answer(line("", "null"));
  const Ran result = ran({"policy", "eval", "--in", written(folder, "lines", lines)});
  EXPECT_EQ(result.status, kFailed);
  EXPECT_EQ(result.out, expected);
}

TEST(PolicyEval, FilesThatCannotBeReadAreToldBeforeAnyLine) {
  EXPECT_EQ(ran({"policy", "eval", "--in", "/nowhere"}).err, "culvertctl: /nowhere: cannot be read\n");
  EXPECT_EQ(ran({"policy", "eval", "--mesh", "/nowhere"}).err, "culvertctl: /nowhere: cannot be read\n");
  EXPECT_EQ(ran({"policy"}).status, kUsage);
  EXPECT_THAT(ran({"policy", "eval", "--help"}).out, HasSubstr("\"source_identity\": \"spiffe://TD/ns/NS/sa/SA\""));
}

TEST(PolicyEval, ReadsStandardInput) {
  const control::TemporaryFolder folder;
  const std::string lines = written(folder, "lines", line("", "null") + "\n{\n"), out = folder / "out";
  const char* program = std::getenv("CULVERTCTL");
  ASSERT_NE(program, nullptr) << "CULVERTCTL names the program";
  const int status = std::system((std::string(program) + " policy eval <" + lines + " >" + out).c_str());
  EXPECT_EQ(WEXITSTATUS(status), kFailed);
  std::string said(4096, '\0');
  std::FILE* file = std::fopen(out.c_str(), "rb");
  ASSERT_NE(file, nullptr);
  said.resize(std::fread(said.data(), 1, said.size(), file));
  std::fclose(file);
  EXPECT_EQ(said, answer(line("", "null")) + "{\"line\":2,\"errors\":[\"is not JSON: it ends too soon\"]}\n");
}

// What the evaluator of the policy room's test says of a case, it says of the case as JSON.
TEST(PolicyEval, AgreesWithAnEvaluatorWrittenFromTheReference) {
  testkit::PolicyCases cases(7);
  for (int i = 0; i < 3'000; ++i) {
    const testkit::PolicySetForm set = cases.policy_set();
    const testkit::ConnectionForm connection = cases.connection();
    const testkit::PolicyVerdict verdict = testkit::judge(set, connection);
    const std::string text = to_json(set, connection);
    ASSERT_THAT(answer(text), HasSubstr("{\"allow\":" + std::string(verdict.allowed ? "true" : "false") +
                                        ",\"reason\":\"" + verdict.reason + "\""))
        << text;
  }
}

}  // namespace
}  // namespace culvert::ctl
