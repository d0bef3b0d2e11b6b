// Small files of secrets: written whole or not at all, for their owner only.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace culvert::ca {

enum class Existing : uint8_t { kRefuse, kReplace };

// Mode 0600 from the first byte on. kReplace goes through a temporary file and a rename, so that a reader sees the old
// or the new content, and an old file's looser mode does not live on.
Result<void, std::string> write_private_file(const std::string& path, std::string_view content, Existing existing);

// At most 1 MiB. With `owner_only`, a file that its group or others may read is refused: it holds a key.
Result<std::string, std::string> read_file(const std::string& path, bool owner_only);

}  // namespace culvert::ca
