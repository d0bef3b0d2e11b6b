// The one place that includes CLI11.
#include "ctl/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "ca/ca.h"
#include "config/duration.h"
#include "ctl/client.h"
#include "ctl/views.h"

namespace culvert::ctl {

namespace {

constexpr std::chrono::seconds kPatience{10};

struct Options {
  std::string socket = "/run/culvert/control.sock";
  std::string format = "table";
  bool all = false, per_worker = false;
  std::string ca_dir, spiffe_id, out;
  std::string lifetime = "24h";
};

// One question to the data plane: how it is asked, and how its answer is shown.
struct Question {
  const char* name;
  const char* description;
  Result<Value, std::string> (*ask)(Client&, const Options&);
  std::string (*show)(const Value&, const Options&);
  bool counts = false;  // takes --all and --per-worker
};

const Question kQuestions[] = {
    {"status", "The node: agent, mesh, workers, attachments and certificates",
     [](Client& c, const Options&) { return c.status(); },
     [](const Value& v, const Options&) { return show_status(v); }},
    {"sessions", "Connections of pods that pass through now, with identities and bytes each way",
     [](Client& c, const Options&) { return c.sessions(); },
     [](const Value& v, const Options&) { return show_sessions(v); }},
    {"tunnels", "HBONE tunnels, with identities, cipher, AEAD backend and streams",
     [](Client& c, const Options&) { return c.tunnels(); },
     [](const Value& v, const Options&) { return show_tunnels(v); }},
    {"ports", "Ports: driver, link, packets, and what the device does itself",
     [](Client& c, const Options&) { return c.ports(); }, [](const Value& v, const Options&) { return show_ports(v); }},
    {"drops", "What was refused, by reason", [](Client& c, const Options& o) { return c.drops(o.per_worker); },
     [](const Value& v, const Options& o) { return show_drops(v, o.all, o.per_worker); }, true},
    {"counters", "What was done, by counter", [](Client& c, const Options& o) { return c.counters(o.per_worker); },
     [](const Value& v, const Options& o) { return show_counters(v, o.all, o.per_worker); }, true},
};

int ask(const Question& question, const Options& options, const Output& output) {
  auto client = Client::connect(options.socket, kPatience);
  if (!client) {
    output.err("culvertctl: " + client.error() + "\n");
    return kFailed;
  }
  const Result<Value, std::string> answer = question.ask(**client, options);
  if (!answer) {
    output.err("culvertctl: " + answer.error() + "\n");
    return kFailed;
  }
  output.out(options.format == "json" ? to_json(*answer) : question.show(*answer, options));
  return kDone;
}

int finish(const Result<void, std::string>& done, const std::string& said, const Output& output) {
  if (!done) {
    output.err("culvertctl: " + done.error() + "\n");
    return kFailed;
  }
  output.out(said);
  return kDone;
}

int ca_init(const Options& options, const Output& output) {
  return finish(
      ca::init(options.ca_dir),
      "made a certificate authority in " + options.ca_dir + "; peers trust " + options.ca_dir + "/root-cert.pem\n",
      output);
}

int ca_issue(const Options& options, const Output& output) {
  const std::optional<std::chrono::seconds> lifetime = config::parse_duration(options.lifetime);
  if (!lifetime || lifetime->count() == 0 || *lifetime > ca::kLeafLifetimeMax) {
    output.err("culvertctl: --lifetime: a time from 1s to " + config::print_duration(ca::kLeafLifetimeMax) +
               " is accepted, not `" + printable(options.lifetime) + "`\n");
    return kUsage;
  }
  return finish(ca::issue(options.ca_dir, options.spiffe_id, *lifetime, options.out),
                "wrote " + options.out + "-key.pem and " + options.out + "-chain.pem for " + options.spiffe_id +
                    ", valid for " + config::print_duration(*lifetime) + "\n",
                output);
}

void add_questions(CLI::App& app, Options& options) {
  for (const Question& question : kQuestions) {
    CLI::App* command = app.add_subcommand(question.name, question.description);
    if (!question.counts) continue;
    command->add_flag("--all", options.all, "Also what is zero (JSON always has all)");
    command->add_flag("--per-worker", options.per_worker, "Also by worker");
  }
}

void add_ca(CLI::App& app, Options& options) {
  CLI::App* ca = app.add_subcommand("ca", "The file-based certificate authority of a mesh without istiod");
  ca->require_subcommand(1);
  CLI::App* init = ca->add_subcommand("init", "Makes a root and an issuing certificate in a directory");
  init->add_option("DIR", options.ca_dir, "Directory; made if it is missing, nothing in it is overwritten")->required();
  CLI::App* issue = ca->add_subcommand(
      "issue",
      "Writes a key and a certificate chain for a peer that Culvert does not run (workloads of a node get "
      "theirs by themselves, and their keys are never written)");
  issue->add_option("SPIFFE-ID", options.spiffe_id, "spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT")
      ->required();
  issue->add_option("--dir", options.ca_dir, "Directory that `ca init` made")->required();
  issue->add_option("--out", options.out, "Writes OUT-key.pem and OUT-chain.pem, mode 0600, replacing older ones")
      ->required();
  issue->add_option("--lifetime", options.lifetime, "How long the certificate is valid: 90s, 10m, up to 24h")
      ->capture_default_str();
}

int dispatch(const CLI::App& app, const Options& options, const Output& output) {
  for (const Question& question : kQuestions) {
    if (app.got_subcommand(question.name)) return ask(question, options, output);
  }
  const CLI::App* ca = app.get_subcommand("ca");
  return ca->got_subcommand("init") ? ca_init(options, output) : ca_issue(options, output);
}

}  // namespace

int run(std::vector<std::string> words, const Output& output) {
  Options options;
  CLI::App app("Shows what a Culvert data plane does, and keeps the file-based certificate authority.", "culvertctl");
  app.set_version_flag("--version", "culvertctl " CULVERT_VERSION);
  app.fallthrough();
  app.require_subcommand(1);
  app.add_option("--socket", options.socket, "The data plane's control socket (control.socket in culvert.yaml)")
      ->envname("CULVERT_CONTROL_SOCKET")
      ->capture_default_str();
  app.add_option("-o,--output", options.format, "table, or json (same names in every release)")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  app.footer(
      "Exit status: 0 done; 1 the data plane cannot be reached or refused, or files cannot be written; 2 the command\n"
      "line is wrong.");
  add_questions(app, options);
  add_ca(app, options);
  try {
    // CLI11 takes the words from the back.
    std::reverse(words.begin(), words.end());
    app.parse(words);
  } catch (const CLI::CallForHelp&) {
    output.out(app.help());
    return kDone;
  } catch (const CLI::CallForVersion&) {
    output.out(app.version() + "\n");
    return kDone;
  } catch (const CLI::ParseError& error) {
    output.err("culvertctl: " + std::string(error.what()) + "\nSee culvertctl --help.\n");
    return kUsage;
  }
  return dispatch(app, options, output);
}

}  // namespace culvert::ctl
