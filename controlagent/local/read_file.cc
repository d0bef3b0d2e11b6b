#include "local/read_file.h"

#include <array>
#include <fstream>

#include "local/mesh_file.h"

namespace culvert::local {

Result<std::string, std::string> read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text;
  std::array<char, 65536> chunk;
  while (file && text.size() <= kMeshFileBytesMax) {
    file.read(chunk.data(), chunk.size());
    text.append(chunk.data(), static_cast<size_t>(file.gcount()));
  }
  if (!file.eof()) {
    const bool long_file = text.size() > kMeshFileBytesMax;
    return Failure{path + (long_file ? ": is longer than 256 MiB" : ": cannot be read")};
  }
  return text;
}

}  // namespace culvert::local
