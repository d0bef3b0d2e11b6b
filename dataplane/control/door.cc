#include "control/door.h"

#include <poll.h>
#include <sys/eventfd.h>

#include <cerrno>
#include <vector>

#include "base/check.h"

namespace culvert::control {

namespace {

// Without descriptors or memory accept() fails at once and again: wait instead of spinning.
constexpr int kPauseAfterFailureMs = 100;

}  // namespace

Door::Door(std::unique_ptr<UnixListener> contract, std::unique_ptr<UnixListener> descriptors, DoorCalls calls)
    : contract_(std::move(contract)),
      descriptors_(std::move(descriptors)),
      calls_(std::move(calls)),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  DP_CHECK(stop_.get() >= 0);
  thread_ = std::thread([this] { run(); });
}

Door::~Door() {
  ::eventfd_write(stop_.get(), 1);
  thread_.join();
}

void Door::accept_contract() {
  UnixListener::Accepted accepted = contract_->accept();
  if (accepted.stranger) calls_.stranger(accepted.uid);
  if (accepted.error != 0) ::poll(nullptr, 0, kPauseAfterFailureMs);
  if (accepted.connection) calls_.contract(std::move(accepted.connection));
}

void Door::accept_descriptors() {
  UnixListener::Accepted accepted = descriptors_->accept();
  if (accepted.stranger) calls_.stranger(accepted.uid);
  if (accepted.error != 0) ::poll(nullptr, 0, kPauseAfterFailureMs);
  if (!accepted.connection) return;
  // The oldest goes: an agent that restarted must not find the door shut by what it left behind.
  if (connections_.size() >= kDescriptorConnectionsMax) connections_.pop_front();
  connections_.push_back(std::move(accepted.connection));
}

bool Door::serve(int connection) {
  Result<std::optional<api::DescriptorPacket>, std::string> received = api::receive_packet(connection);
  if (received && !received->has_value()) return false;
  const api::DescriptorPacket answer =
      calls_.descriptors(received ? Result<api::DescriptorPacket, std::string>(std::move(**received))
                                  : Result<api::DescriptorPacket, std::string>(Failure{received.error()}));
  std::vector<int> descriptors;
  for (const UniqueFd& descriptor : answer.descriptors) descriptors.push_back(descriptor.get());
  // Non-blocking: a client that does not read its answers is closed.
  return api::send_packet(connection, answer.bytes, descriptors).ok();
}

void Door::run() {
  while (true) {
    std::vector<pollfd> ready = {
        {stop_.get(), POLLIN, 0}, {contract_->fd(), POLLIN, 0}, {descriptors_->fd(), POLLIN, 0}};
    for (const UniqueFd& connection : connections_) ready.push_back({connection.get(), POLLIN, 0});
    if (::poll(ready.data(), ready.size(), -1) < 0) continue;
    if (ready[0].revents != 0) return;
    size_t i = 3;
    for (auto connection = connections_.begin(); connection != connections_.end(); ++i) {
      const bool keep = ready[i].revents == 0 || serve(connection->get());
      connection = keep ? std::next(connection) : connections_.erase(connection);
    }
    if (ready[1].revents != 0) accept_contract();
    if (ready[2].revents != 0) accept_descriptors();
  }
}

}  // namespace culvert::control
