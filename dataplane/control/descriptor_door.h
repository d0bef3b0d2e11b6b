// Answers one packet of the descriptor socket (D19).
#pragma once

#include "control/api/descriptor_socket.h"
#include "control/services.h"

namespace culvert::control {

// `received`: the packet, or why it could not be received whole. What comes back is to be sent to the client; its
// descriptors are copies.
api::DescriptorPacket answer_descriptor_packet(Desk& desk, Result<api::DescriptorPacket, std::string> received);

}  // namespace culvert::control
