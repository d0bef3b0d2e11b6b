// culvert-sim: runs a scenario for a range of seeds on a virtual clock and says what broke.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/sim/simulation.h"

namespace {

using culvert::sim::RunResult;

nlohmann::ordered_json to_json(const RunResult& r) {
  nlohmann::ordered_json out;
  char digest[17];
  std::snprintf(digest, sizeof digest, "%016llx", static_cast<unsigned long long>(r.digest));
  out["seed"] = r.seed;
  out["digest"] = digest;
  out["virtual_ms"] = culvert::to_ms(r.virtual_time);
  out["turns"] = r.turns;
  out["frames"] = r.wire.frames;
  out["frames_lost"] = r.wire.lost + r.wire.blacked_out + r.wire.queue_dropped;
  out["injected"] = r.drawn;
  out["flows"] = r.flows;
  out["flows_complete"] = r.flows_complete;
  out["flows_failed"] = r.flows_failed;
  out["bytes_delivered"] = r.bytes_delivered;
  out["violations"] = r.violations;
  return out;
}

void print(const RunResult& r) {
  std::printf(
      "seed %llu  digest %016llx  virtual %lld ms  frames %llu (%llu lost)  flows %u of %u complete, %u failed  %llu "
      "bytes\n",
      static_cast<unsigned long long>(r.seed), static_cast<unsigned long long>(r.digest),
      static_cast<long long>(culvert::to_ms(r.virtual_time)), static_cast<unsigned long long>(r.wire.frames),
      static_cast<unsigned long long>(r.wire.lost + r.wire.blacked_out + r.wire.queue_dropped), r.flows_complete,
      r.flows, r.flows_failed, static_cast<unsigned long long>(r.bytes_delivered));
  for (const std::string& what : r.drawn) std::printf("    %s\n", what.c_str());
  for (const std::string& what : r.violations) std::printf("  VIOLATION %s\n", what.c_str());
}

// "7" or "1..100".
bool parse_range(const std::string& text, uint64_t& first, uint64_t& last) {
  const size_t dots = text.find("..");
  try {
    size_t used = 0;
    first = std::stoull(text, &used);
    if (dots == std::string::npos) {
      last = first;
      return used == text.size();
    }
    if (used != dots) return false;
    const std::string rest = text.substr(dots + 2);
    last = std::stoull(rest, &used);
    return used == rest.size() && first <= last;
  } catch (const std::exception&) {
    return false;
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Simulates whole Culvert nodes, their pods and the wire between them on a virtual clock.\n"
      "Everything in a run follows from its seed; a violation is seen again with the same seed.",
      "culvert-sim"};
  std::string scenario_path;
  std::string seeds = "1..10";
  std::string replay;
  std::string pcap;
  std::string output = "text";
  app.add_option("--scenario", scenario_path,
                 "YAML file; without it: two nodes with two pods each, two random impairments, one fault");
  app.add_option("--seeds", seeds, "A..B, or one seed")->capture_default_str();
  app.add_option("--replay", replay, "run this seed only");
  app.add_option("--pcap", pcap, "with --replay: write the wire's frames to this file");
  app.add_option("-o,--output", output, "text or json")->check(CLI::IsMember({"text", "json"}))->capture_default_str();
  app.set_version_flag("--version", CULVERT_VERSION);
  CLI11_PARSE(app, argc, argv);

  uint64_t first = 0;
  uint64_t last = 0;
  if (!parse_range(replay.empty() ? seeds : replay, first, last) || (!replay.empty() && first != last)) {
    std::fprintf(stderr, "culvert-sim: --seeds takes A..B with A at most B, --replay one seed\n");
    return 2;
  }
  if (!pcap.empty() && replay.empty()) {
    std::fprintf(stderr, "culvert-sim: --pcap needs --replay SEED, one file holds one run\n");
    return 2;
  }
  culvert::sim::Scenario scenario = culvert::sim::two_nodes();
  scenario.random = {.impairments = 2, .faults = 1, .offloads = true};
  if (!scenario_path.empty()) {
    auto loaded = culvert::sim::load_scenario(scenario_path);
    if (!loaded) {
      std::fprintf(stderr, "culvert-sim: %s\n", loaded.error().c_str());
      return 2;
    }
    scenario = *loaded;
  }

  bool violated = false;
  nlohmann::ordered_json runs = nlohmann::ordered_json::array();
  for (uint64_t seed = first; seed <= last; ++seed) {
    const RunResult result = culvert::sim::run(scenario, seed, {.pcap = pcap});
    violated |= !result.violations.empty();
    if (output == "json") {
      runs.push_back(to_json(result));
    } else {
      print(result);
    }
  }
  if (output == "json") {
    std::printf("%s\n", nlohmann::ordered_json{{"scenario", scenario.name}, {"runs", runs}}.dump(2).c_str());
  }
  return violated ? 1 : 0;
}
