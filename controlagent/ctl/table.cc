#include "ctl/table.h"

#include <algorithm>
#include <cstdio>

namespace culvert::ctl {

namespace {

std::string without_blanks(std::string text) {
  std::replace(text.begin(), text.end(), ' ', '_');
  return text.empty() ? "-" : text;
}

bool is_number(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Columns as people see them: continuation bytes of UTF-8 take none.
size_t width_of(const std::string& text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string two_parts(uint64_t value, uint64_t step, const char* large, const char* small) {
  char out[48];
  std::snprintf(out, sizeof(out), "%llu%s%02llu%s", static_cast<unsigned long long>(value / step), large,
                static_cast<unsigned long long>(value % step), small);
  return out;
}

}  // namespace

std::string to_table(const std::vector<Column>& columns, const Value& rows) {
  std::vector<std::vector<std::string>> cells;
  std::vector<size_t> widths;
  std::vector<bool> numbers;
  for (const Column& column : columns) {
    widths.push_back(column.title.size());
    numbers.push_back(!rows.items.empty());
  }
  for (const Value& row : rows.items) {
    std::vector<std::string>& line = cells.emplace_back();
    for (size_t i = 0; i < columns.size(); ++i) {
      const Value* value = row.find(columns[i].key);
      const Value nothing;
      std::string cell =
          columns[i].show ? columns[i].show(value ? *value : nothing) : (value ? *value : nothing).cell();
      line.push_back(columns[i].sentence ? std::move(cell) : without_blanks(std::move(cell)));
      widths[i] = std::max(widths[i], width_of(line[i]));
      numbers[i] = numbers[i] && is_number(line[i]);
    }
  }
  std::string out;
  const auto put = [&](const std::vector<std::string>& line) {
    std::string text;
    for (size_t i = 0; i < line.size(); ++i) {
      const std::string padding(widths[i] - width_of(line[i]), ' ');
      text += (i ? "  " : "") + (numbers[i] ? padding + line[i] : line[i] + padding);
    }
    text.erase(text.find_last_not_of(' ') + 1);
    out += text + "\n";
  };
  std::vector<std::string> titles;
  for (const Column& column : columns) titles.push_back(column.title);
  put(titles);
  for (const auto& line : cells) put(line);
  return out;
}

std::string show_span(const Value& value) {
  const uint64_t ms = value.number;
  const uint64_t seconds = ms / 1000;
  if (seconds < 10) {
    char out[32];
    std::snprintf(out, sizeof(out), "%llu.%llus", static_cast<unsigned long long>(seconds),
                  static_cast<unsigned long long>(ms % 1000 / 100));
    return out;
  }
  if (seconds < 60) return std::to_string(seconds) + "s";
  if (seconds < 3600) return two_parts(seconds, 60, "m", "s");
  if (seconds < 86'400) return two_parts(seconds / 60, 60, "h", "m");
  return two_parts(seconds / 3600, 24, "d", "h");
}

std::string show_bytes(const Value& value) {
  if (value.number < 1024) return std::to_string(value.number);
  double amount = static_cast<double>(value.number);
  const char* unit = "KMGTPE";
  for (amount /= 1024; amount >= 1024 && unit[1] != '\0'; ++unit) amount /= 1024;
  char out[32];
  std::snprintf(out, sizeof(out), "%.1f%c", amount, *unit);
  return out;
}

}  // namespace culvert::ctl
