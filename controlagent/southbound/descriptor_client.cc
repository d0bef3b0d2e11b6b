#include "southbound/descriptor_client.h"

#include <sys/socket.h>
#include <sys/time.h>

#include "control/api/descriptor_socket.h"
#include "southbound/session.h"

namespace culvert::southbound {

Result<std::vector<UniqueFd>, std::string> DescriptorClient::ask(api::DescriptorMessage::Kind kind,
                                                                 const std::string& name, int queue) {
  if (!socket_) {
    auto connected = api::connect_descriptor_socket(path_);
    if (!connected) return Failure{connected.error()};
    socket_ = std::move(*connected);
    const timeval patience{std::chrono::duration_cast<std::chrono::seconds>(kCallPatience).count(), 0};
    setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(socket_.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
  }
  api::DescriptorMessage question;
  question.set_kind(kind);
  question.set_name(name);
  const std::span<const int> descriptors(&queue, queue >= 0 ? 1 : 0);
  // After any failure the socket may still deliver an answer that belongs to this question: it is not used again.
  if (auto sent = api::send_packet(socket_.get(), question.SerializeAsString(), descriptors); !sent) {
    socket_.reset();
    return Failure{sent.error()};
  }
  auto packet = api::receive_packet(socket_.get());
  if (!packet || !packet->has_value()) {
    socket_.reset();
    return Failure{packet ? std::string("the data plane closed the descriptor socket") : packet.error()};
  }
  api::DescriptorMessage answer;
  if (!answer.ParseFromString((*packet)->bytes) ||
      (answer.kind() != api::DescriptorMessage::OK && answer.kind() != api::DescriptorMessage::REFUSED)) {
    socket_.reset();
    return Failure{std::string("the data plane sent no answer that can be read")};
  }
  if (answer.kind() == api::DescriptorMessage::REFUSED) return Failure{answer.error()};
  return std::move((*packet)->descriptors);
}

Result<void, std::string> DescriptorClient::give(const std::string& name, int queue) {
  auto answer = ask(api::DescriptorMessage::GIVE, name, queue);
  if (!answer) return answer.error();
  return {};
}

Result<UniqueFd, std::string> DescriptorClient::take(const std::string& name) {
  auto answer = ask(api::DescriptorMessage::TAKE, name, -1);
  if (!answer) return answer.error();
  if (answer->empty()) return std::string("the data plane gave no descriptor back");
  return std::move(answer->front());
}

Result<void, std::string> DescriptorClient::release(const std::string& name) {
  auto answer = ask(api::DescriptorMessage::RELEASE, name, -1);
  if (!answer) return answer.error();
  return {};
}

}  // namespace culvert::southbound
