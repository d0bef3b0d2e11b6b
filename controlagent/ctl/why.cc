// A line per step: a mark, the step's name, its title, and details indented under it.
#include "ctl/why.h"

#include <algorithm>

namespace culvert::ctl {

namespace {

constexpr size_t kMarkWidth = 4, kNameWidth = 13;

Value texts(const std::vector<std::string>& in) {
  Value out = Value::list();
  for (const std::string& text : in) out.items.push_back(Value::of(text));
  return out;
}

Value steps_of(const std::vector<why::Step>& steps) {
  Value out = Value::list();
  for (const why::Step& step : steps) {
    Value row = Value::map();
    row.set("step", std::string(name_of(step.kind)));
    row.set("passes", step.passes);
    row.set("title", step.title);
    row.set("lines", texts(step.lines));
    out.items.push_back(std::move(row));
  }
  return out;
}

std::string shown(const std::vector<why::Step>& steps) {
  std::string out;
  for (const why::Step& step : steps) {
    const std::string name(name_of(step.kind));
    out += (step.passes ? "ok  " : "NO  ") + name + std::string(kNameWidth - name.size(), ' ') + printable(step.title) +
           "\n";
    for (const std::string& line : step.lines) {
      out += std::string(kMarkWidth + kNameWidth, ' ') + "  " + printable(line) + "\n";
    }
  }
  return out;
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return out;
}

std::string of_endpoints(const std::vector<std::string>& endpoints) {
  constexpr size_t kNamed = 3;
  std::string out;
  for (size_t i = 0; i < endpoints.size() && i < kNamed; ++i) out += (i ? ", " : "") + endpoints[i];
  if (endpoints.size() > kNamed) out += " and " + std::to_string(endpoints.size() - kNamed) + " more";
  return out;
}

}  // namespace

Value to_value(const why::Explanation& explanation) {
  Value out = Value::map();
  out.set("from", explanation.from);
  out.set("to", explanation.to);
  out.set("outcome", std::string(name_of(explanation.outcome)));
  out.set("summary", explanation.summary);
  out.set("steps", steps_of(explanation.steps));
  Value paths = Value::list();
  for (const why::Path& path : explanation.paths) {
    Value row = Value::map();
    row.set("endpoints", texts(path.endpoints));
    row.set("outcome", std::string(name_of(path.outcome)));
    row.set("drop_reason", path.drop_reason);
    row.set("log_at_source", path.log_at_source);
    row.set("log_at_destination", path.log_at_destination);
    row.set("steps", steps_of(path.steps));
    paths.items.push_back(std::move(row));
  }
  out.set("paths", std::move(paths));
  out.set("paths_left_out", uint64_t{explanation.paths_left_out});
  return out;
}

std::string show_why(const why::Explanation& explanation) {
  // The summary begins with the outcome's own word.
  const size_t word = name_of(explanation.outcome).size();
  std::string out = printable(explanation.from) + " -> " + printable(explanation.to) + "\n" +
                    upper(explanation.summary.substr(0, word)) +
                    printable(explanation.summary.substr(std::min(word, explanation.summary.size()))) + "\n\n";
  out += shown(explanation.steps);
  const bool several = explanation.paths.size() > 1 || explanation.paths_left_out > 0;
  for (const why::Path& path : explanation.paths) {
    if (several) out += "\n" + upper(name_of(path.outcome)) + " to " + printable(of_endpoints(path.endpoints)) + "\n";
    out += shown(path.steps);
    const auto more = [&](const std::string& name, const std::string& text) {
      out += std::string(kMarkWidth, ' ') + name + std::string(kNameWidth - name.size(), ' ') + printable(text) + "\n";
    };
    if (!path.log_at_source.empty()) more("source logs", "error=\"" + path.log_at_source + "\"");
    if (!path.log_at_destination.empty()) more("dest. logs", "error=\"" + path.log_at_destination + "\"");
    if (!path.drop_reason.empty()) more("counted as", path.drop_reason);
  }
  if (explanation.paths_left_out > 0) {
    out += "\nand " + std::to_string(explanation.paths_left_out) + " more fates among the endpoints\n";
  }
  return out;
}

}  // namespace culvert::ctl
