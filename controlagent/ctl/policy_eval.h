// `culvertctl policy eval`: authorization decisions (reference 12) for connections that come as JSON, one a line.
#pragma once

#include <iosfwd>
#include <memory>
#include <string>

#include "ctl/command_line.h"
#include "snapshot/mesh.h"

namespace culvert::ctl {

// What a line may hold, for --help.
extern const char* const kPolicyEvalSchema;

// The answer to one line, as one line of JSON with its newline; `right` becomes false when the line is not accepted.
std::string evaluate_line(std::string_view line, const snapshot::Mesh* mesh, const std::string& network, bool& right);

// Answers every line of `in` that is not blank, in order; a line that is not accepted is answered with an error, and
// the next one is read. kDone, or kFailed when at least one was not accepted. `mesh` may be null.
int evaluate_policies(std::istream& in, const snapshot::Mesh* mesh, const std::string& network, const Output& output);

}  // namespace culvert::ctl
