#include "admin/json_writer.h"

#include "log/utf8.h"

namespace culvert::admin {

void JsonWriter::indent() {
  buffer_ += '\n';
  buffer_.append(2 * filled_.size(), ' ');
}

void JsonWriter::before_value() {
  if (after_key_) {
    after_key_ = false;
    return;
  }
  if (filled_.empty()) return;
  if (filled_.back()) buffer_ += ',';
  filled_.back() = true;
  indent();
}

void JsonWriter::open(char bracket) {
  before_value();
  buffer_ += bracket;
  filled_.push_back(false);
}

void JsonWriter::close(char bracket) {
  const bool filled = filled_.back();
  filled_.pop_back();
  if (filled) indent();
  buffer_ += bracket;
  if (buffer_.size() >= kPieceBytes) flush();
}

void JsonWriter::key(std::string_view name) {
  string(name);
  buffer_ += ": ";
  after_key_ = true;
}

void JsonWriter::string(std::string_view text) {
  before_value();
  buffer_ += '"';
  log::append_escaped(buffer_, text, log::Escape::kJson);
  buffer_ += '"';
}

void JsonWriter::scalar(std::string_view text) {
  before_value();
  buffer_ += text;
}

void JsonWriter::flush() {
  if (ok_ && !buffer_.empty()) ok_ = sink_(buffer_);
  buffer_.clear();
}

bool JsonWriter::finish() {
  buffer_ += '\n';
  flush();
  return ok_;
}

}  // namespace culvert::admin
