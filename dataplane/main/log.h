// The data plane's log: one line per event of the process, never per packet, in ztunnel's plain form (reference 25) on
// standard output, beside the access-log lines.
#pragma once

#include <string_view>

#include "config/config.h"

namespace culvert {

void set_log_level(config::LogLevel level);
void log_debug(std::string_view message);
void log_info(std::string_view message);
void log_warn(std::string_view message);
void log_error(std::string_view message);

}  // namespace culvert
