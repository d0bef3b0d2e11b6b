// `culvertctl verify`: the data plane's judgement of a peer's chain, put to work on files.
#pragma once

#include <string>

#include "ctl/command_line.h"

namespace culvert::ctl {

struct VerifyRequest {
  std::string roots, chain, crl;  // paths; crl: none when empty
  std::string expect;             // SPIFFE identity
  std::string at;                 // empty: now
  std::string role = "server";
};

// kDone: good. kFailed: not; the sentence goes to standard output with the rest. kUsage: nothing could be judged.
int verify(const VerifyRequest& request, bool json, const Output& output);

}  // namespace culvert::ctl
