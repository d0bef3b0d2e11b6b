// Prints scrape_sample() as /metrics would.
#include <cstdio>

#include "tests/unit/controlagent/admin/scrape_sample.h"

int main() {
  const bool whole = culvert::admin::write_metrics(culvert::admin::scrape_sample(), [](std::string_view piece) {
    return std::fwrite(piece.data(), 1, piece.size(), stdout) == piece.size();
  });
  return whole ? 0 : 1;
}
