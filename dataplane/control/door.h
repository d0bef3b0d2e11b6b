// The thread at the two sockets: accepts, turns strangers away, hands contract connections on and answers the packets
// of descriptor connections.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "control/api/descriptor_socket.h"
#include "control/unix_listener.h"

namespace culvert::control {

struct DoorCalls {
  std::function<void(UniqueFd)> contract;  // an allowed user's connection
  std::function<api::DescriptorPacket(Result<api::DescriptorPacket, std::string>)> descriptors;
  std::function<void(uint32_t uid)> stranger;
};

class Door {
 public:
  // The agent has one descriptor connection; a few more are for the moment in which it is replaced.
  static constexpr size_t kDescriptorConnectionsMax = 8;

  Door(std::unique_ptr<UnixListener> contract, std::unique_ptr<UnixListener> descriptors, DoorCalls calls);
  ~Door();  // ends the thread, removes the sockets

 private:
  void run();
  void accept_contract();
  void accept_descriptors();
  bool serve(int connection);  // false: close it

  std::unique_ptr<UnixListener> contract_, descriptors_;
  DoorCalls calls_;
  UniqueFd stop_;  // eventfd
  std::list<UniqueFd> connections_;
  std::thread thread_;
};

}  // namespace culvert::control
