// Records in the words of an explanation.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "snapshot/records.h"

namespace culvert::why {

// "shop/web-1", or the uid of what has no name.
std::string name_of(const snapshot::Workload& workload);
// "eu/a/rack1", as far as it is known; empty for none.
std::string text_of(const snapshot::Locality& locality);
// "no preference", "only endpoints of the same NODE", "prefers the same NETWORK, REGION, ZONE".
std::string text_of(const snapshot::Service& service);
// "principal cluster.local/ns/shop/sa/*, port 80 or 443", as it is written in an AuthorizationPolicy.
std::string text_of(const snapshot::Match& match);

// Columns padded to a common width, without blanks at the end.
std::vector<std::string> aligned(const std::vector<std::vector<std::string>>& rows);
// What came with a question, safe to show.
std::string printable(std::string_view text);

}  // namespace culvert::why
