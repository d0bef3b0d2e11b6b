// culvert-fake-istiod: istiod's place in a lab, taken by a program that does what a script says.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "tests/tools/fake_istiod/program.h"
#include "tests/tools/fake_istiod/script.h"

namespace {

constexpr char kFooter[] = R"(
It writes root-cert.pem and istio-token for its clients into --out, and listens for xDS and CA on one address.
Standard error: "ready: https://ADDRESS, N resources" once it serves, then what goes wrong.
Standard input: further steps, one a line, e.g. {do: rotate-root} or {after: 1s, do: away, for: 5s}.
Ends on SIGTERM, SIGINT, the step `exit`, and with 1 when a nack-check fails.
)";

}  // namespace

int main(int argc, char** argv) {
  using namespace culvert;
  CLI::App app{"A control plane for tests: plays istiod's xDS and CA from a script.", "culvert-fake-istiod"};
  app.footer(kFooter);
  std::string script_file;
  fake_istiod_tool::Script given;
  bool print = false;
  app.add_option("--script", script_file, "settings and steps, YAML or JSON");
  app.add_option("--listen", given.listen, "ADDRESS:PORT; port 0: any free one");
  app.add_option("--mesh", given.mesh, "the mesh in ztunnel's local format; changes of the file are pushed");
  app.add_option("--ca-dir", given.ca_dir, "a CA as `culvertctl ca init` makes it; else a root of its own");
  app.add_option("--out", given.out, "folder for root-cert.pem and istio-token");
  app.add_flag("--print", print, "print what is seen and sent as JSON lines");
  CLI11_PARSE(app, argc, argv);

  fake_istiod_tool::Script script;
  if (!script_file.empty()) {
    auto loaded = fake_istiod_tool::load_script(script_file);
    if (!loaded) {
      for (const std::string& problem : loaded.error()) std::fprintf(stderr, "%s\n", problem.c_str());
      return 2;
    }
    script = std::move(*loaded);
  }
  for (const auto& [from, to] : {std::pair{&given.listen, &script.listen},
                                 {&given.mesh, &script.mesh},
                                 {&given.ca_dir, &script.ca_dir},
                                 {&given.out, &script.out}}) {
    if (!from->empty()) *to = *from;
  }
  return fake_istiod_tool::Program(std::move(script), print).run();
}
