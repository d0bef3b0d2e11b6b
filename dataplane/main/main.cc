// culvert-dataplane: reads culvert.yaml, opens the DPDK ports, starts the workers and the contract's server, and gives
// up every privilege; the agent brings the rest (TAP queues, mesh, certificates).
#include <pthread.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <stop_token>
#include <thread>

#include "config/command_line.h"
#include "control/server.h"
#include "drivers/crypto/ipsec_mb/aead.h"
#include "drivers/crypto/openssl/aead.h"
#include "drivers/ethdev/eal.h"
#include "main/ending.h"
#include "main/log.h"
#include "main/node_host.h"
#include "main/privileges.h"
#include "worker/worker.h"

namespace {

using namespace culvert;

// Exit codes: the command line or the configuration is wrong; the machine lacks something.
constexpr int kUsage = 2;
constexpr int kCannotStart = 1;

std::unique_ptr<tls::AeadBackend> choose_aead() {
  std::string error;
  if (auto ipsec_mb = crypto::IpsecMbAead::make(error)) {
    log_info("AEAD: IPsec-MB, " + std::string(ipsec_mb->architecture()));
    return ipsec_mb;
  }
  log_warn("AEAD: OpenSSL, since IPsec-MB cannot be used: " + error);
  return std::make_unique<crypto::OpensslAead>();
}

std::vector<std::jthread> start_workers(worker::Node& node, worker::PollMode mode) {
  std::vector<std::jthread> threads;
  for (uint32_t i = 0; i < node.workers(); ++i) {
    threads.emplace_back([&node, i, mode](std::stop_token stop) {
      pthread_setname_np(pthread_self(), ("worker-" + std::to_string(i)).c_str());
      // Registered with EAL, so that mempools give this thread a cache of its own (D22).
      ethdev::register_thread();
      node.worker(i).run(stop, mode);
      ethdev::unregister_thread();
    });
  }
  return threads;
}

ethdev::HugePages huge_pages_of(config::HugePages wanted) {
  switch (wanted) {
    case config::HugePages::kAuto:
      return ethdev::HugePages::kWhenEnough;
    case config::HugePages::kAlways:
      return ethdev::HugePages::kRequired;
    case config::HugePages::kNever:
      return ethdev::HugePages::kNever;
  }
  return ethdev::HugePages::kWhenEnough;
}

int run(const config::Config& config) {
  apply(config.log);
  Ending ending;  // before any thread starts

  if (config.workers.count != 1) {
    log_error("workers.count: one worker is what this version runs, not " + std::to_string(config.workers.count));
    return kUsage;
  }
  ethdev::EalSettings settings;
  settings.huge_pages = huge_pages_of(config.memory.huge_pages);
  settings.limits = buffers_of(config);
  settings.pools = config.workers.count;
  // A prefix of its own lets several data planes run on one machine (D22).
  settings.file_prefix = "culvert-" + config.node.name + "-" + std::to_string(getpid());
  const auto eal = ethdev::Eal::start(settings);
  if (!eal) {
    log_error(eal.error());
    return kCannotStart;
  }
  log_info("packet buffers: " + std::to_string(config.memory.buffers_mb) + " MB " +
           ((*eal)->huge_pages() ? "in huge pages" : "without huge pages"));

  SystemClock clock;
  const auto aead = choose_aead();
  auto host = NodeHost::make(config, clock, *aead);
  if (!host) {
    log_error(host.error());
    return kCannotStart;
  }
  if (const auto opened = (*host)->open_ethdev_ports(); !opened) {
    log_error(opened.error());
    return kCannotStart;
  }

  // Everything that needs a privilege is open; threads started from here on inherit none.
  if (const auto dropped = drop_all_capabilities(); !dropped) {
    log_error(dropped.error());
    return kCannotStart;
  }

  control::ServerOptions options;
  options.socket = config.control.socket;
  options.descriptors = config.control.descriptors;
  options.allowed_uids = config.control.allowed_uids;
  options.node = config.node.name;
  options.network = config.node.network;
  options.build = CULVERT_VERSION;
  options.log = &log_settings();
  options.drain_deadline = config.drain.deadline;
  options.drain_begun = [&ending] { ending.drain_begun(); };
  options.notice = [](const std::string& line) { log_info(line); };
  auto server = control::Server::start(options, **host, clock);
  if (!server) {
    log_error(server.error());
    return kCannotStart;
  }
  const auto mode =
      config.workers.poll == config::Poll::kAlways ? worker::PollMode::kAlways : worker::PollMode::kAdaptive;
  auto workers = start_workers((*host)->node(), mode);
  log_info("culvert-dataplane " CULVERT_VERSION " ready: node " + config.node.name + ", " +
           std::to_string(config.workers.count) + (config.workers.count == 1 ? " worker, " : " workers, ") +
           (mode == worker::PollMode::kAlways ? "polling always" : "adaptive polling"));

  ending.wait(
      [&](std::string_view signal) {
        log_info("ending on " + std::string(signal));
        (*server)->drain(std::nullopt);
      },
      [&] { return (*host)->node().drained(); });
  log_info("ended");
  server->reset();
  for (std::jthread& thread : workers) thread.request_stop();
  workers.clear();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Culvert's data plane: one node's pods, their TCP and the HBONE tunnels between nodes.",
               "culvert-dataplane"};
  config::CommandLine line;
  app.add_option("--config", line.path, "the node's culvert.yaml")->capture_default_str();
  app.add_option("--set", line.sets, "KEY=VALUE: overrides a single value of the file, e.g. workers.poll=always");
  app.add_flag("--print-config", line.print_config, "print every effective value with its origin, and end");
  app.set_version_flag("--version", CULVERT_VERSION);
  CLI11_PARSE(app, argc, argv);

  const config::Given given = config::load(line, "culvert-dataplane");
  return given.exit ? *given.exit : run(given.loaded.config);
}
