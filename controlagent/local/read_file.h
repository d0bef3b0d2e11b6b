// Whole files, up to kMeshFileBytesMax.
#pragma once

#include <string>

#include "base/result.h"

namespace culvert::local {

// The error is a line that begins with the path.
Result<std::string, std::string> read_file(const std::string& path);

}  // namespace culvert::local
