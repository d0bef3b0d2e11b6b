// What this process may do: make interfaces in pods' namespaces, and nothing else that root may.
#pragma once

#include <string>
#include <vector>

namespace culvert::agent {

// One sentence for each capability that is missing.
std::vector<std::string> missing_capabilities();

// Keeps CAP_NET_ADMIN (interfaces, addresses, routes), CAP_SYS_ADMIN (entering namespaces) and, where it is held,
// CAP_SYS_PTRACE (namespaces named as /proc/PID/ns/net); drops all others, of this thread and of those it starts from
// then on, and forbids gaining any by exec. The error is one sentence, "" is none.
std::string drop_other_capabilities();

}  // namespace culvert::agent
