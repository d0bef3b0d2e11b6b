// Aligned columns. Names, order and number of columns are part of the interface: scripts cut them at blanks, so no cell
// holds one, except sentences in the last column, and no cell is empty.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ctl/value.h"

namespace culvert::ctl {

struct Column {
  std::string title;  // upper case, no blanks
  std::string key;    // of the row's map
  // How the value is shown; empty: Value::cell().
  std::function<std::string(const Value&)> show = {};
  bool sentence = false;  // keeps its blanks; the last column only
};

// One line of titles, then one per row. Columns of numbers are right-aligned. A list without rows is its titles.
std::string to_table(const std::vector<Column>& columns, const Value& rows);

// "1.5s", "12m30s", "3h04m", "2d05h": of milliseconds.
std::string show_span(const Value& value);
// "950", "12.3K", "4.0M": of bytes, in steps of 1024.
std::string show_bytes(const Value& value);

}  // namespace culvert::ctl
