// The data plane's log: one line per event of the process, never per packet, in the form of reference 25 on standard
// output, beside the access-log lines.
#pragma once

#include <string_view>

#include "config/config.h"
#include "telemetry/log_settings.h"

namespace culvert {

// Of this process: these lines, and the access-log lines of the node and the Log service of the contract, which get it
// handed. Levels and format change at run time.
LogSettings& log_settings();
// `log:` of culvert.yaml. The level is that of every target, as ztunnel's RUST_LOG without targets.
void apply(const config::LogSection& section);

void log_debug(std::string_view message);
void log_info(std::string_view message);
void log_warn(std::string_view message);
void log_error(std::string_view message);

}  // namespace culvert
