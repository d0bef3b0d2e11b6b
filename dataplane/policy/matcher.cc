// The kinds of reference 12.3 and how each compares.
#include "policy/matcher.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace culvert::policy {

namespace {

using snapshot::MatchLists;
using snapshot::StringMatch;

// A text in up to five pieces, so that a SPIFFE id is compared without being put together.
class Pieces {
 public:
  explicit Pieces(std::string_view text) : pieces_{text} {}
  // The SPIFFE id without its scheme: principals are written that way.
  explicit Pieces(const identity::SpiffeId& id)
      : pieces_{id.trust_domain, "/ns/", id.name_space, "/sa/", id.service_account} {}

  size_t bytes() const {
    size_t sum = 0;
    for (const std::string_view piece : pieces_) sum += piece.size();
    return sum;
  }
  // Whether `text` stands at `offset`; it must not reach past the end.
  bool has_at(size_t offset, std::string_view text) const {
    for (const std::string_view piece : pieces_) {
      if (offset >= piece.size()) {
        offset -= piece.size();
        continue;
      }
      const size_t n = std::min(text.size(), piece.size() - offset);
      if (piece.substr(offset, n) != text.substr(0, n)) return false;
      text.remove_prefix(n);
      offset = 0;
    }
    return text.empty();
  }

 private:
  std::array<std::string_view, 5> pieces_;
};

bool holds(const StringMatch& match, const Pieces& text) {
  const size_t bytes = text.bytes();
  switch (match.kind) {
    case StringMatch::Kind::kExact:
      return bytes == match.value.size() && text.has_at(0, match.value);
    case StringMatch::Kind::kPrefix:
      return bytes >= match.value.size() && text.has_at(0, match.value);
    case StringMatch::Kind::kSuffix:
      return bytes >= match.value.size() && text.has_at(bytes - match.value.size(), match.value);
    case StringMatch::Kind::kPresence:
      return bytes != 0;
  }
  return false;
}

template <class T, class Holds>
bool lists_hold(const MatchLists<T>& lists, Holds&& value_holds) {
  if (!lists.any_of.empty() && std::none_of(lists.any_of.begin(), lists.any_of.end(), value_holds)) return false;
  return std::none_of(lists.none_of.begin(), lists.none_of.end(), value_holds);
}

bool namespaces_hold(const MatchLists<StringMatch>& lists, const Connection& c) {
  const Pieces name_space(c.peer ? std::string_view(c.peer->name_space) : std::string_view());
  return lists_hold(lists, [&](const StringMatch& m) { return holds(m, name_space); });
}

bool principals_hold(const MatchLists<StringMatch>& lists, const Connection& c) {
  // "without identity every positive form (also presence) fails and negatives pass"
  if (!c.peer) return lists.any_of.empty();
  const Pieces principal(*c.peer);
  return lists_hold(lists, [&](const StringMatch& m) { return holds(m, principal); });
}

bool service_accounts_hold(const MatchLists<snapshot::ServiceAccountMatch>& lists, const Connection& c) {
  return lists_hold(lists, [&](const snapshot::ServiceAccountMatch& m) {
    return c.peer && c.peer->name_space == m.name_space && c.peer->service_account == m.service_account;
  });
}

bool addresses_hold(const MatchLists<Prefix>& lists, const IpAddress& address) {
  return lists_hold(lists, [&](const Prefix& prefix) { return prefix.contains(address); });
}

bool ports_hold(const MatchLists<uint16_t>& lists, uint16_t port) {
  return lists_hold(lists, [&](uint16_t listed) { return listed == port; });
}

}  // namespace

bool matches(const snapshot::Match& match, const Connection& c) {
  if (match.empty()) return false;
  // Cheap comparisons first.
  return ports_hold(match.destination_ports, c.port) && addresses_hold(match.source_ips, c.source) &&
         addresses_hold(match.destination_ips, c.destination) && namespaces_hold(match.namespaces, c) &&
         service_accounts_hold(match.service_accounts, c) && principals_hold(match.principals, c);
}

bool matches(const snapshot::Clause& clause, const Connection& c) {
  return clause.matches.empty() ||
         std::any_of(clause.matches.begin(), clause.matches.end(), [&](const auto& m) { return matches(m, c); });
}

bool matches(const snapshot::Rule& rule, const Connection& c) {
  return std::all_of(rule.clauses.begin(), rule.clauses.end(), [&](const auto& clause) { return matches(clause, c); });
}

std::optional<uint32_t> matching_rule(const snapshot::Policy& policy, const Connection& c) {
  for (uint32_t i = 0; i < policy.rules.size(); ++i) {
    if (matches(policy.rules[i], c)) return i;
  }
  return std::nullopt;
}

}  // namespace culvert::policy
