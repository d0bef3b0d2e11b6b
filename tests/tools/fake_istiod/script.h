// What culvert-fake-istiod is told: a YAML (or JSON) file of settings and of steps that follow each other.
//
//   mesh: mesh.yaml            # ztunnel's local format; followed
//   ca-dir: ca                 # as `culvertctl ca init` makes it; else a root of its own
//   lifetime: 10s              # of workload certificates; else what is asked for
//   steps:
//     - {after: 5s, do: disconnect, code: UNAVAILABLE, text: transport is closing}
//     - {after: 1s, do: away, for: 10s}
//     - {do: nack-check}
//
// The same steps are taken from standard input, one a line, while the program runs. README.md lists them.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tests/testkit/fake_istiod.h"

namespace culvert::fake_istiod_tool {

struct Step {
  enum class Do : uint8_t {
    kPush,
    kRemove,
    kMesh,
    kDisconnect,
    kDelay,
    kNackCheck,
    kBadBytes,
    kBadResource,
    kRejectTokens,
    kRefuseStreams,
    kRotateServer,
    kRotateRoot,
    kAway,
    kCa,
    kExit,
  };
  Do what = Do::kPush;
  std::chrono::milliseconds after{};  // the end of the step before
  std::chrono::milliseconds span{};   // `for`, `within`
  int code = 0;                       // gRPC's
  std::string text, type_url, file, identity;
  std::vector<std::string> names;
  bool on = true;  // `on`, `keep-old`
  testkit::CaBehaviour ca;
};

struct Script {
  std::string listen, mesh, ca_dir, out;
  std::vector<std::string> names;  // DNS names and addresses of its certificate, besides those it has anyway
  std::vector<testkit::FakeIstiod::Token> tokens;
  bool any_token = false;
  bool intermediate = false, rsa_root = false;
  testkit::CaBehaviour ca;
  std::vector<Step> steps;
};

// Problems are lines of "file:line: key: sentence". Relative paths are taken from the file's own folder.
Result<Script, std::vector<std::string>> load_script(const std::string& path);
Result<Script, std::vector<std::string>> parse_script(std::string_view text, const std::string& path);
Result<Step, std::vector<std::string>> parse_step(std::string_view line);

}  // namespace culvert::fake_istiod_tool
