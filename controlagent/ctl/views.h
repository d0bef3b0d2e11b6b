// How each command's answer is shown to people. With -o json the answer itself is shown.
#pragma once

#include <string>

#include "ctl/value.h"

namespace culvert::ctl {

// "2026-03-01T12:00:00Z": of milliseconds since 1970; "-" for 0.
std::string show_date(const Value& value);

std::string show_status(const Value& status);
std::string show_sessions(const Value& rows);
std::string show_tunnels(const Value& rows);
std::string show_ports(const Value& rows);
// `all`: rows of value 0 too.
std::string show_counters(const Value& rows, bool all, bool per_worker);
std::string show_drops(const Value& rows, bool all, bool per_worker);

}  // namespace culvert::ctl
