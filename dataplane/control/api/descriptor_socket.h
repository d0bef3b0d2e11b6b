// Packets of the descriptor socket: some bytes (a serialised DescriptorMessage) and descriptors beside them, over a
// connected SOCK_SEQPACKET Unix socket (D19). Used by both ends; blocking or not is the socket's own flag.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace culvert::api {

struct DescriptorPacket {
  std::string bytes;
  std::vector<UniqueFd> descriptors;  // close-on-exec
};

// Sends one packet; the descriptors stay the caller's. The error is one sentence. A peer that went away is an error,
// not a SIGPIPE.
Result<void, std::string> send_packet(int socket, std::string_view bytes, std::span<const int> descriptors);

// The next packet; none when the peer closed its end. A packet that is longer than kDescriptorMessageBytesMax or
// carries more than kDescriptorsPerMessageMax descriptors is an error, its descriptors are closed, and the socket can
// go on.
Result<std::optional<DescriptorPacket>, std::string> receive_packet(int socket);

// Connects to a listening descriptor socket. The error is one sentence that names the path.
Result<UniqueFd, std::string> connect_descriptor_socket(const std::string& path);

}  // namespace culvert::api
