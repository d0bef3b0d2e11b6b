// The one place that includes CLI11.
#include "ctl/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <fstream>
#include <iostream>

#include "ca/ca.h"
#include "config/duration.h"
#include "ctl/client.h"
#include "ctl/mesh_source.h"
#include "ctl/policy_eval.h"
#include "ctl/verify.h"
#include "ctl/views.h"
#include "ctl/why.h"

namespace culvert::ctl {

namespace {

constexpr std::chrono::seconds kPatience{10};

struct Options {
  std::string socket = "/run/culvert/control.sock";
  std::string format = "table";
  bool all = false, per_worker = false;
  std::string ca_dir, spiffe_id, out;
  std::string lifetime = "24h";
  MeshSource mesh;
  std::string from, to;
  std::string node, network;  // of a decision without a data plane
  std::string lines = "-";
  VerifyRequest verify;
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

int fail(const std::string& sentence, int status, const Output& output) {
  output.err("culvertctl: " + sentence + "\n");
  return status;
}

Result<why::Explanation, std::string> ask_why(const Options& options, const Output& output) {
  if (!options.mesh.given()) {
    auto client = Client::connect(options.socket, kPatience);
    if (!client) return Failure{client.error()};
    return (*client)->why(options.from, options.to);
  }
  const auto offline = load(options.mesh, output);
  if (!offline) return Failure{offline.error()};
  why::Question question;
  question.from = options.from;
  question.to = options.to;
  question.node = options.node.empty() ? offline->node : options.node;
  question.network = options.network.empty() ? offline->network : options.network;
  return why::explain(*offline->mesh, question);
}

int tell_why(const Options& options, const Output& output) {
  if (!options.mesh.given() && (!options.node.empty() || !options.network.empty())) {
    return fail("--node and --network go with --mesh or --config-dump: a data plane knows its own", kUsage, output);
  }
  const auto told = ask_why(options, output);
  if (!told) return fail(told.error(), kFailed, output);
  output.out(options.format == "json" ? to_json(to_value(*told)) : show_why(*told));
  return kDone;
}

int evaluate(const Options& options, const Output& output) {
  OfflineMesh offline;
  if (options.mesh.given()) {
    auto loaded = load(options.mesh, output);
    if (!loaded) return fail(loaded.error(), kFailed, output);
    offline = std::move(*loaded);
  }
  const std::string& network = options.network.empty() ? offline.network : options.network;
  if (options.lines == "-") return evaluate_policies(std::cin, offline.mesh.get(), network, output);
  std::ifstream file(options.lines, std::ios::binary);
  if (!file) return fail(printable(options.lines) + ": cannot be read", kFailed, output);
  return evaluate_policies(file, offline.mesh.get(), network, output);
}

void add_mesh(CLI::App& command, Options& options) {
  CLI::Option* mesh = command.add_option("--mesh", options.mesh.mesh, "A mesh file in ztunnel's local format");
  command.add_option("--config-dump", options.mesh.config_dump, "What a ztunnel or Culvert answered to /config_dump")
      ->excludes(mesh);
  command.add_option("--network", options.network, "The node's NETWORK, if it is not what the file says");
}

void add_why(CLI::App& app, Options& options) {
  CLI::App* command = app.add_subcommand(
      "why",
      "Explains step by step where a connection goes, and whether it is let in: asks the data plane, or decides\n"
      "from a file with the same code");
  command->add_option("FROM", options.from, "The source: NAMESPACE/NAME of a workload, its uid or an address")
      ->required();
  command
      ->add_option(
          "TO[:PORT]", options.to,
          "The destination: the same, or a service by NAMESPACE/HOSTNAME, NAMESPACE/NAME, host name or address;\n"
          "the port may be left out where only one is possible")
      ->required();
  add_mesh(*command, options);
  command->add_option("--node", options.node, "NODE_NAME of the node that decides, if it is not what the file says");
}

void add_policy(CLI::App& app, Options& options) {
  CLI::App* policy = app.add_subcommand("policy", "Authorization policies");
  policy->require_subcommand(1);
  CLI::App* eval = policy->add_subcommand("eval", "Decides connections that come as JSON, one a line");
  add_mesh(*eval, options);
  eval->add_option("--in", options.lines, "File with the lines; - is standard input")->capture_default_str();
  eval->footer(kPolicyEvalSchema);
}

void add_verify(CLI::App& app, Options& options) {
  CLI::App* command = app.add_subcommand(
      "verify", "Judges a certificate chain as a node would at a handshake, and says in one sentence what is wrong");
  VerifyRequest& verify = options.verify;
  command->add_option("--roots", verify.roots, "PEM file with the roots that are trusted")->required();
  command->add_option("--chain", verify.chain, "PEM file: the leaf, then intermediates")->required();
  command
      ->add_option("--expect", verify.expect,
                   "spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT that the leaf has to bear")
      ->required();
  command->add_option("--crl", verify.crl, "Revocation lists, PEM or DER, as CRL_PATH names one");
  command->add_option("--at", verify.at, "The time to judge at, as 2026-03-01T12:00:00Z, instead of now");
  command->add_option("--as", verify.role, "What the leaf is used for: server, or client")
      ->check(CLI::IsMember({"server", "client"}))
      ->capture_default_str();
  command->footer(
      "Exit status: 0 the chain is good; 1 it is not; 2 nothing could be judged: the command line is wrong, or a file\n"
      "cannot be read.");
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
  if (app.got_subcommand("why")) return tell_why(options, output);
  if (app.got_subcommand("policy")) return evaluate(options, output);
  if (app.got_subcommand("verify")) return verify(options.verify, options.format == "json", output);
  const CLI::App* ca = app.get_subcommand("ca");
  return ca->got_subcommand("init") ? ca_init(options, output) : ca_issue(options, output);
}

}  // namespace

int run(std::vector<std::string> words, const Output& output) {
  Options options;
  CLI::App app(
      "Shows what a Culvert data plane does, explains its decisions, and keeps the file-based certificate authority.",
      "culvertctl");
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
  add_why(app, options);
  add_policy(app, options);
  add_verify(app, options);
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
