// The query of a request's target: names and values, decoded (RFC 3986 2.1, and "+" for a blank as browsers send it).
#pragma once

#include <map>
#include <string>
#include <string_view>

namespace culvert::admin {

// The first value of each name; a name without "=" has "". A value may hold "=": cpp-httplib takes what is behind the
// last one, and `level=access=debug` has two.
std::map<std::string, std::string> parse_query(std::string_view target);

}  // namespace culvert::admin
