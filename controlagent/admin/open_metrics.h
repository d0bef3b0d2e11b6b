// Writes OpenMetrics text 1.0.0, family by family, to a sink.
//
// An own writer: prometheus-cpp's serialiser writes the older text format (no UNIT, no EOF, counters without the rule
// about _total), and ztunnel's scrapers get OpenMetrics whatever they ask for (reference 24).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "admin/http_server.h"
#include "southbound/sight.h"

namespace culvert::admin {

// In the order they are written. An empty value is shown as "unknown", as ztunnel does.
using Labels = std::vector<std::pair<std::string_view, std::string_view>>;

using southbound::Histogram;

class OpenMetricsWriter {
 public:
  enum class Type { kCounter, kGauge, kHistogram };

  explicit OpenMetricsWriter(const Sink& sink) : sink_(sink) {}

  // Begins a family; `name` without the _total of its samples. UNIT is written for names that end in _bytes or
  // _seconds. A family may stay without samples.
  void family(std::string_view name, Type type, std::string_view help);
  // A sample of the present family.
  void sample(const Labels& labels, uint64_t value);
  void sample(const Labels& labels, double value);
  void sample(const Labels& labels, const Histogram& histogram);

  // Ends the text; false: the sink wanted no more.
  bool finish();

 private:
  void begin_sample(std::string_view suffix, const Labels& labels);
  void flush();

  static constexpr size_t kPieceBytes = 64 << 10;

  const Sink& sink_;
  std::string buffer_, name_;
  Type type_ = Type::kGauge;
  bool ok_ = true;
};

}  // namespace culvert::admin
