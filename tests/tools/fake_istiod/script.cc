#include "tests/tools/fake_istiod/script.h"

#include <grpcpp/grpcpp.h>

#include <charconv>
#include <filesystem>

#include "local/read_file.h"
#include "local/schema.h"

namespace culvert::fake_istiod_tool {

namespace {

using local::Fields;
using local::Problems;
using local::Value;
using std::chrono::milliseconds;

// "250ms", "10s", "5m".
milliseconds span_of(const Value& value) {
  const std::string text = value.text();
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit(end, static_cast<size_t>(text.data() + text.size() - end));
  if (error == std::errc() && number >= 0 && number <= 1'000'000) {
    if (unit == "ms") return milliseconds(number);
    if (unit == "s") return std::chrono::seconds(number);
    if (unit == "m") return std::chrono::minutes(number);
    if (unit == "h") return std::chrono::hours(number);
  }
  value.refuse_as("a time as 250ms, 10s, 5m, 24h");
  return {};
}

std::chrono::seconds seconds_of(const Value& value) {
  return std::chrono::duration_cast<std::chrono::seconds>(span_of(value));
}

constexpr Value::Name<int> kCodes[] = {
    {"OK", grpc::StatusCode::OK},
    {"CANCELLED", grpc::StatusCode::CANCELLED},
    {"UNKNOWN", grpc::StatusCode::UNKNOWN},
    {"INVALID_ARGUMENT", grpc::StatusCode::INVALID_ARGUMENT},
    {"DEADLINE_EXCEEDED", grpc::StatusCode::DEADLINE_EXCEEDED},
    {"NOT_FOUND", grpc::StatusCode::NOT_FOUND},
    {"PERMISSION_DENIED", grpc::StatusCode::PERMISSION_DENIED},
    {"UNAUTHENTICATED", grpc::StatusCode::UNAUTHENTICATED},
    {"RESOURCE_EXHAUSTED", grpc::StatusCode::RESOURCE_EXHAUSTED},
    {"FAILED_PRECONDITION", grpc::StatusCode::FAILED_PRECONDITION},
    {"ABORTED", grpc::StatusCode::ABORTED},
    {"UNIMPLEMENTED", grpc::StatusCode::UNIMPLEMENTED},
    {"INTERNAL", grpc::StatusCode::INTERNAL},
    {"UNAVAILABLE", grpc::StatusCode::UNAVAILABLE},
};

constexpr Value::Name<Step::Do> kSteps[] = {
    {"push", Step::Do::kPush},
    {"remove", Step::Do::kRemove},
    {"mesh", Step::Do::kMesh},
    {"disconnect", Step::Do::kDisconnect},
    {"delay", Step::Do::kDelay},
    {"nack-check", Step::Do::kNackCheck},
    {"bad-bytes", Step::Do::kBadBytes},
    {"bad-resource", Step::Do::kBadResource},
    {"reject-tokens", Step::Do::kRejectTokens},
    {"refuse-streams", Step::Do::kRefuseStreams},
    {"rotate-server", Step::Do::kRotateServer},
    {"rotate-root", Step::Do::kRotateRoot},
    {"away", Step::Do::kAway},
    {"ca", Step::Do::kCa},
    {"exit", Step::Do::kExit},
};

constexpr Value::Name<const char*> kTypes[] = {
    {"address", testkit::kAddressType},
    {"authorization", testkit::kAuthorizationType},
};

void take_ca(Fields& fields, testkit::CaBehaviour& ca) {
  fields.optional("lifetime", [&](const Value& v) { ca.lifetime = seconds_of(v); })
      .optional("backdated", [&](const Value& v) { ca.backdated = seconds_of(v); });
}

Step step_of(const Value& value) {
  Step out;
  out.type_url = testkit::kAddressType;
  Fields fields(value);
  fields.required("do", [&](const Value& v) { out.what = v.one_of<Step::Do>(kSteps); })
      .optional("after", [&](const Value& v) { out.after = span_of(v); });
  switch (out.what) {
    case Step::Do::kPush:
    case Step::Do::kBadBytes:
    case Step::Do::kRotateServer:
    case Step::Do::kExit:
      break;
    case Step::Do::kRemove:
    case Step::Do::kBadResource:
      fields.optional("type", [&](const Value& v) { out.type_url = v.one_of<const char*>(kTypes); })
          .required("names",
                    [&](const Value& v) { v.each_item([&](const Value& name) { out.names.push_back(name.text()); }); });
      break;
    case Step::Do::kMesh:
      fields.required("file", [&](const Value& v) { out.file = v.text(); });
      break;
    case Step::Do::kDisconnect:
    case Step::Do::kRefuseStreams:
      out.code = grpc::StatusCode::UNAVAILABLE;
      fields.optional("code", [&](const Value& v) { out.code = v.one_of<int>(kCodes); })
          .optional("text", [&](const Value& v) { out.text = v.text(); });
      break;
    case Step::Do::kDelay:
    case Step::Do::kAway:
      fields.required("for", [&](const Value& v) { out.span = span_of(v); });
      break;
    case Step::Do::kNackCheck:
      out.span = std::chrono::seconds(10);
      fields.optional("within", [&](const Value& v) { out.span = span_of(v); });
      break;
    case Step::Do::kRejectTokens:
      fields.optional("on", [&](const Value& v) { out.on = v.boolean(); });
      break;
    case Step::Do::kRotateRoot:
      fields.optional("keep-old", [&](const Value& v) { out.on = v.boolean(); });
      break;
    case Step::Do::kCa:
      take_ca(fields, out.ca);
      fields.optional("identity", [&](const Value& v) { out.identity = v.text(); })
          .optional("delay", [&](const Value& v) { out.ca.delay = span_of(v); })
          .optional("refuse", [&](const Value& v) { out.ca.refusal = v.one_of<int>(kCodes); })
          .optional("text", [&](const Value& v) { out.ca.refusal_text = v.text(); })
          .optional("answer-as", [&](const Value& v) { out.ca.answer_as = v.text(); })
          .optional("without-roots", [&](const Value& v) { out.ca.without_roots = v.boolean(); })
          .optional("expired", [&](const Value& v) { out.ca.expired = v.boolean(); });
      break;
  }
  fields.finish();
  return out;
}

testkit::FakeIstiod::Token token_of(const Value& value) {
  testkit::FakeIstiod::Token out;
  Fields fields(value);
  fields.required("value", [&](const Value& v) { out.value = v.text(); })
      .optional("namespace", [&](const Value& v) { out.name_space = v.text(); })
      .optional("serviceAccount", [&](const Value& v) { out.service_account = v.text(); })
      .optional("trusted", [&](const Value& v) { out.trusted = v.boolean(); });
  fields.finish();
  return out;
}

}  // namespace

Result<Script, std::vector<std::string>> parse_script(std::string_view text, const std::string& path) {
  Problems problems(path);
  const auto tree = config::parse_yaml(text);
  Script out;
  if (!tree) {
    problems.add(tree.error().line, "", tree.error().text);
    return problems.take_lines();
  }
  if (tree->kind == config::YamlNode::Kind::kNull) return out;
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  const auto take_path = [&folder](std::string& to) {
    return [&folder, &to](const Value& v) { to = (folder / v.text()).string(); };
  };
  Fields fields(Value(*tree, "", problems));
  fields.optional("listen", [&](const Value& v) { out.listen = v.text(); })
      .optional("mesh", take_path(out.mesh))
      .optional("ca-dir", take_path(out.ca_dir))
      .optional("out", take_path(out.out))
      .optional("names",
                [&](const Value& v) { v.each_item([&](const Value& name) { out.names.push_back(name.text()); }); })
      .optional(
          "tokens",
          [&](const Value& v) { v.each_item([&](const Value& token) { out.tokens.push_back(token_of(token)); }); })
      .optional("any-token", [&](const Value& v) { out.any_token = v.boolean(); })
      .optional("intermediate", [&](const Value& v) { out.intermediate = v.boolean(); })
      .optional("rsa-root", [&](const Value& v) { out.rsa_root = v.boolean(); })
      .optional("steps",
                [&](const Value& v) { v.each_item([&](const Value& step) { out.steps.push_back(step_of(step)); }); });
  take_ca(fields, out.ca);
  fields.finish();
  for (Step& step : out.steps) {
    if (!step.file.empty()) step.file = (folder / step.file).string();
  }
  if (!problems.empty()) return problems.take_lines();
  return out;
}

Result<Script, std::vector<std::string>> load_script(const std::string& path) {
  const auto text = local::read_file(path);
  if (!text) return std::vector<std::string>{text.error()};
  return parse_script(*text, path);
}

Result<Step, std::vector<std::string>> parse_step(std::string_view line) {
  Problems problems("standard input");
  const auto tree = config::parse_yaml(line);
  if (!tree) {
    problems.add(tree.error().line, "", tree.error().text);
    return problems.take_lines();
  }
  Step out = step_of(Value(*tree, "", problems));
  if (!problems.empty()) return problems.take_lines();
  return out;
}

}  // namespace culvert::fake_istiod_tool
