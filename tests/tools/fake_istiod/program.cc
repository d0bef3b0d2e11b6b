#include "tests/tools/fake_istiod/program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "local/mesh_file.h"
#include "local/read_file.h"

namespace culvert::fake_istiod_tool {

namespace {

using testkit::FakeIstiod;
using testkit::FakeIstiodEvent;

Instant monotonic_now() { return Instant(std::chrono::steady_clock::now().time_since_epoch()); }

UniqueFd take_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT}) sigaddset(&set, signal);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  return UniqueFd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
}

// One event as a line; what it does not have is left out.
std::string json_of(const FakeIstiodEvent& event) {
  nlohmann::ordered_json out;
  out["event"] = testkit::name_of(event.kind);
  out["at_ms"] = std::chrono::duration_cast<std::chrono::milliseconds>(event.at.time_since_epoch()).count();
  const auto put = [&out](const char* key, const auto& value) {
    if (value != std::decay_t<decltype(value)>{}) out[key] = value;
  };
  put("stream", event.stream);
  put("node", event.node);
  put("type", event.type_url);
  put("nonce", event.nonce);
  put("push", event.push);
  put("identity", event.identity);
  put("text", event.text);
  put("subscribe", event.subscribe);
  put("unsubscribe", event.unsubscribe);
  put("known", event.known);
  put("resources", event.resources);
  put("removed", event.removed);
  put("headers", event.headers);
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

// Serials of a program that is started again with the same CA do not repeat.
uint64_t first_serial() {
  return static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch() / std::chrono::milliseconds(1))
         << 16;
}

Result<std::shared_ptr<const testkit::TestCa>, std::string> load_ca(const std::string& dir) {
  std::string texts[3];
  const char* const names[] = {"ca-cert.pem", "ca-key.pem", "root-cert.pem"};
  for (int i = 0; i < 3; ++i) {
    auto text = local::read_file(dir + "/" + names[i]);
    if (!text) return text.error();
    texts[i] = std::move(*text);
  }
  std::shared_ptr<const testkit::TestCa> ca = testkit::TestCa::from_pem(texts[0], texts[1], texts[2], first_serial());
  if (!ca) return dir + ": ca-cert.pem and ca-key.pem do not belong together";
  return ca;
}

}  // namespace

Program::Program(Script script, bool print) : script_(std::move(script)), print_(print), signals_(take_signals()) {
  steps_.assign(script_.steps.begin(), script_.steps.end());
}

Program::~Program() = default;

void Program::say(const std::string& what) const { std::fprintf(stderr, "culvert-fake-istiod: %s\n", what.c_str()); }

bool Program::start() {
  FakeIstiod::Options options;
  if (!script_.listen.empty()) options.address = script_.listen;
  options.names.insert(options.names.end(), script_.names.begin(), script_.names.end());
  if (!script_.tokens.empty() || script_.any_token) options.tokens = script_.tokens;
  options.intermediate = script_.intermediate;
  options.rsa_root = script_.rsa_root;
  if (!script_.ca_dir.empty()) {
    auto ca = load_ca(script_.ca_dir);
    if (!ca) {
      say(ca.error());
      return false;
    }
    options.ca = *ca;
  }
  if (print_) {
    options.on_event = [](const FakeIstiodEvent& event) {
      std::printf("%s\n", json_of(event).c_str());
      std::fflush(stdout);
    };
  }
  auto started = FakeIstiod::start(std::move(options));
  if (!started) {
    say(started.error());
    return false;
  }
  istiod_ = std::move(*started);
  istiod_->set_ca(script_.ca);
  if (!script_.mesh.empty()) {
    mesh_watch_.emplace(script_.mesh, monotonic_now());
    read_mesh();
  }
  if (!script_.out.empty()) istiod_->write_client_files(script_.out);
  say("ready: " + istiod_->url() + ", " + std::to_string(istiod_->resources()) + " resources");
  return true;
}

void Program::read_mesh() {
  const auto file = local::load_mesh(script_.mesh);
  if (!file) {
    for (const std::string& problem : file.error()) say(problem);
    say(script_.mesh + " is not used, the mesh stays as it is");
    return;
  }
  push_ = istiod_->set_mesh(file->mesh);
}

int Program::run() {
  if (!start()) return 1;
  const auto schedule = [this] { due_ = steps_.empty() ? kNever : monotonic_now() + Duration(steps_.front().after); };
  schedule();
  for (;;) {
    Instant wake = due_;
    if (mesh_watch_) wake = std::min(wake, mesh_watch_->due());
    pollfd polled[] = {{signals_.get(), POLLIN, 0},
                       {commands_open_ ? STDIN_FILENO : -1, POLLIN, 0},
                       {mesh_watch_ ? mesh_watch_->descriptor() : -1, POLLIN, 0}};
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(wake - monotonic_now()).count();
    poll(polled, 3, static_cast<int>(std::clamp<int64_t>(left, 0, 60'000)));
    signalfd_siginfo info{};
    if (read(signals_.get(), &info, sizeof(info)) > 0) return exit_code_;
    if (mesh_watch_ && mesh_watch_->poll(monotonic_now())) read_mesh();
    if (polled[1].revents != 0) {
      const size_t before = steps_.size();
      take_commands();
      if (before == 0) schedule();
    }
    if (due_ <= monotonic_now()) {
      const Step step = std::move(steps_.front());
      steps_.pop_front();
      if (!take(step)) return exit_code_;
      schedule();
    }
  }
}

// Lines that are not whole yet wait for their rest.
void Program::take_commands() {
  char bytes[4096];
  const ssize_t got = read(STDIN_FILENO, bytes, sizeof(bytes));
  if (got <= 0) {
    commands_open_ = false;
    return;
  }
  command_bytes_.append(bytes, static_cast<size_t>(got));
  for (size_t end = command_bytes_.find('\n'); end != std::string::npos; end = command_bytes_.find('\n')) {
    const std::string line = command_bytes_.substr(0, end);
    command_bytes_.erase(0, end + 1);
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    auto step = parse_step(line);
    if (step) {
      steps_.push_back(std::move(*step));
    } else {
      for (const std::string& problem : step.error()) say(problem);
    }
  }
}

bool Program::take(const Step& step) {
  switch (step.what) {
    case Step::Do::kPush:
      push_ = istiod_->push_again();
      break;
    case Step::Do::kRemove: {
      std::vector<testkit::XdsName> names;
      for (const std::string& name : step.names) names.push_back({step.type_url, name});
      push_ = istiod_->remove(std::move(names));
      break;
    }
    case Step::Do::kMesh:
      script_.mesh = step.file;
      mesh_watch_.emplace(script_.mesh, monotonic_now());
      read_mesh();
      break;
    case Step::Do::kDisconnect:
      istiod_->disconnect(step.code, step.text);
      break;
    case Step::Do::kDelay:
      istiod_->set_delay(step.span);
      break;
    case Step::Do::kNackCheck:
      return check_answers(step);
    case Step::Do::kBadBytes:
      istiod_->send_bytes("\xff\xff\xff\xff");
      break;
    case Step::Do::kBadResource: {
      std::vector<testkit::XdsResource> resources;
      for (const std::string& name : step.names) {
        resources.push_back(testkit::raw_resource(step.type_url, name, "\xff\xff\xff\xff"));
      }
      push_ = istiod_->set(std::move(resources));
      break;
    }
    case Step::Do::kRejectTokens:
      istiod_->reject_tokens(step.on);
      break;
    case Step::Do::kRefuseStreams:
      istiod_->refuse_streams(step.code, step.text);
      break;
    case Step::Do::kRotateServer:
      istiod_->rotate_server();
      break;
    case Step::Do::kRotateRoot:
      istiod_->rotate_root(step.on);
      if (!script_.out.empty()) istiod_->write_client_files(script_.out);
      break;
    case Step::Do::kAway: {
      istiod_->stop_listening();
      Step back;
      back.what = Step::Do::kRotateServer;  // listens again, with a new certificate
      back.after = step.span;
      steps_.push_front(back);
      break;
    }
    case Step::Do::kCa:
      if (step.identity.empty()) {
        istiod_->set_ca(step.ca);
      } else {
        istiod_->set_ca_for(step.identity, step.ca);
      }
      break;
    case Step::Do::kExit:
      return false;
  }
  return true;
}

bool Program::check_answers(const Step& step) {
  if (!istiod_->wait_answered(push_, step.span)) {
    say("nack-check: not every node has answered all it was sent");
    exit_code_ = 1;
    return false;
  }
  const size_t nacks = istiod_->count(FakeIstiodEvent::Kind::kNack);
  if (nacks == std::exchange(nacks_seen_, nacks)) return true;
  for (const FakeIstiodEvent& event : istiod_->events()) {
    if (event.kind == FakeIstiodEvent::Kind::kNack) say("nack-check: " + event.node + ": " + event.text);
  }
  exit_code_ = 1;
  return false;
}

}  // namespace culvert::fake_istiod_tool
