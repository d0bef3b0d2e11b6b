#include "admin/open_metrics.h"

#include <charconv>
#include <cmath>

namespace culvert::admin {
namespace {

// Backslash, line feed and, in labels, the quote (OpenMetrics 1.0.0, ABNF of escaped-string).
void append_text(std::string& out, std::string_view text) {
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') out += '\\';
    out += c;
  }
}

std::string text_of(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char out[32];
  const auto end = std::to_chars(out, out + sizeof(out), value).ptr;
  std::string text(out, end);
  // Bounds of buckets are to be written one way: as floats.
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

}  // namespace

void OpenMetricsWriter::family(std::string_view name, Type type, std::string_view help) {
  name_ = name;
  type_ = type;
  buffer_ += "# HELP " + name_ + " ";
  append_text(buffer_, help);
  buffer_ += "\n# TYPE " + name_;
  buffer_ += type == Type::kCounter ? " counter\n" : type == Type::kGauge ? " gauge\n" : " histogram\n";
  for (const std::string_view unit : {"bytes", "seconds"}) {
    if (name.ends_with("_" + std::string(unit))) buffer_ += "# UNIT " + name_ + " " + std::string(unit) + "\n";
  }
}

void OpenMetricsWriter::begin_sample(std::string_view suffix, const Labels& labels) {
  if (buffer_.size() >= kPieceBytes) flush();
  buffer_ += name_;
  buffer_ += suffix;
  if (!labels.empty()) {
    char before = '{';
    for (const auto& [name, value] : labels) {
      buffer_ += before;
      buffer_ += name;
      buffer_ += "=\"";
      append_text(buffer_, value.empty() ? "unknown" : value);
      buffer_ += '"';
      before = ',';
    }
    buffer_ += '}';
  }
  buffer_ += ' ';
}

void OpenMetricsWriter::sample(const Labels& labels, uint64_t value) {
  begin_sample(type_ == Type::kCounter ? "_total" : "", labels);
  buffer_ += std::to_string(value) + "\n";
}

void OpenMetricsWriter::sample(const Labels& labels, double value) {
  begin_sample(type_ == Type::kCounter ? "_total" : "", labels);
  buffer_ += text_of(value) + "\n";
}

void OpenMetricsWriter::sample(const Labels& labels, const Histogram& histogram) {
  uint64_t count = 0;
  for (size_t i = 0; i < histogram.counts.size(); ++i) {
    count += histogram.counts[i];
    const std::string bound = i < histogram.bounds.size() ? text_of(histogram.bounds[i]) : "+Inf";
    Labels all = labels;
    all.emplace_back("le", bound);
    begin_sample("_bucket", all);
    buffer_ += std::to_string(count) + "\n";
  }
  begin_sample("_count", labels);
  buffer_ += std::to_string(count) + "\n";
  begin_sample("_sum", labels);
  buffer_ += text_of(histogram.sum) + "\n";
}

void OpenMetricsWriter::flush() {
  if (ok_ && !buffer_.empty()) ok_ = sink_(buffer_);
  buffer_.clear();
}

bool OpenMetricsWriter::finish() {
  buffer_ += "# EOF\n";
  flush();
  return ok_;
}

}  // namespace culvert::admin
