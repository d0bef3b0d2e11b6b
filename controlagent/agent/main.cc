// culvert-agent: reads culvert.yaml, the mesh file and the CA, makes pods' interfaces, and keeps the data plane in
// step. It runs without the data plane (and waits for it), and the data plane runs without it.
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>

#include "agent/agent.h"
#include "agent/privileges.h"
#include "base/unique_fd.h"
#include "config/command_line.h"

namespace {

using namespace culvert;

// Exit code: the machine lacks something.
constexpr int kCannotStart = 1;

// Signals are read from a descriptor; blocked before any other thread starts.
UniqueFd take_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  signal(SIGPIPE, SIG_IGN);
  return UniqueFd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

Instant monotonic_now() { return Instant(std::chrono::steady_clock::now().time_since_epoch()); }

// Until a signal says to end, whose number is returned, or `quit` becomes readable: 0.
int loop(agent::Agent& agent, int signals, int quit) {
  for (;;) {
    std::vector<pollfd> polled = {{.fd = signals, .events = POLLIN, .revents = 0},
                                  {.fd = quit, .events = POLLIN, .revents = 0}};
    for (const int fd : agent.descriptors()) polled.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    // Rounded up: a wake-up just before the time would come again at once.
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(agent.due() - monotonic_now()).count();
    poll(polled.data(), polled.size(), static_cast<int>(std::clamp<int64_t>(left, 0, 60'000)));
    signalfd_siginfo info{};
    while (read(signals, &info, sizeof(info)) == static_cast<ssize_t>(sizeof(info))) {
      if (info.ssi_signo != SIGHUP) return static_cast<int>(info.ssi_signo);
      agent.reload();
    }
    if ((polled[1].revents & POLLIN) != 0) return 0;
    agent.turn(monotonic_now());
  }
}

log::Level level_of(config::LogLevel level) {
  switch (level) {
    case config::LogLevel::kError:
      return log::Level::kError;
    case config::LogLevel::kWarn:
      return log::Level::kWarn;
    case config::LogLevel::kInfo:
      return log::Level::kInfo;
    case config::LogLevel::kDebug:
      return log::Level::kDebug;
  }
  return log::Level::kInfo;
}

int run(const std::string& path, const config::Overrides& overrides, config::Loaded loaded) {
  log::AgentLogOptions log_options;
  log_options.filter = log::Filter(level_of(loaded.config.log.level));
  if (const auto filter = config::process_environment("RUST_LOG"); filter && !filter->empty()) {
    auto parsed = log::Filter::parse(*filter);
    if (!parsed) {
      std::fprintf(stderr, "environment RUST_LOG: %s\n", parsed.error().c_str());
      return config::kUsageExit;
    }
    log_options.filter = *parsed;
  }
  log_options.format = loaded.config.log.format == config::LogFormat::kJson ? log::Format::kJson : log::Format::kPlain;
  const auto log = log::make_agent_log(log_options);
  if (const auto missing = agent::missing_capabilities(); !missing.empty()) {
    for (const std::string& sentence : missing) log->error(sentence);
    return kCannotStart;
  }
  if (const std::string error = agent::drop_other_capabilities(); !error.empty()) {
    log->error(error);
    return kCannotStart;
  }
  const UniqueFd signals = take_signals();
  node::KernelLinks links;
  const UniqueFd quit(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  agent::Agent agent(path, overrides, std::move(loaded), links, *log, [&quit] { eventfd_write(quit.get(), 1); });
  if (const auto started = agent.start(); !started) {
    log->error(started.error());
    return kCannotStart;
  }
  std::printf("culvert-agent " CULVERT_VERSION " ready: %s\n", agent.summary().c_str());
  std::fflush(stdout);
  const int signal = loop(agent, signals.get(), quit.get());
  if (signal == 0) {
    log->info("ending as asked: the data plane drains");
    agent.drain();
  } else {
    log->info(std::string("ending on ") + (signal == SIGTERM ? "SIGTERM" : "SIGINT") +
              "; interfaces, attachments and certificates stay");
  }
  agent.stop();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  // gRPC writes lines of its own to standard error, in its own form, for what our log tells in full.
  setenv("GRPC_VERBOSITY", "NONE", 0);
  CLI::App app{"Culvert's control agent: tells one node's data plane about its pods, the mesh and their certificates.",
               "culvert-agent"};
  app.footer(
      "Signals: SIGTERM and SIGINT end it and leave pods' interfaces as they are; SIGHUP reads the files again.");
  config::CommandLine line;
  app.add_option("--config", line.path, "the node's culvert.yaml")->capture_default_str();
  app.add_option("--set", line.sets, "KEY=VALUE: overrides a single value of the file, e.g. log.level=debug");
  app.add_flag("--print-config", line.print_config, "print every effective value with its origin, and end");
  app.set_version_flag("--version", CULVERT_VERSION);
  CLI11_PARSE(app, argc, argv);

  config::Given given = config::load(line, "culvert-agent");
  return given.exit ? *given.exit : run(line.path, given.overrides, std::move(given.loaded));
}
