// Which resources of one type are kept, under which name, in which version: what `initial_resource_versions` says at
// the next stream's start, and what a removal by name means (reference 13.3, 14.4).
//
// A resource's name and its record's key are the same in all that istiod sends, and are not assumed to be: a record
// belongs to the name that told it last. Costs are logarithmic in what is kept; nothing here depends on a clock.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace culvert::xds {

enum class RecordKind : uint8_t { kWorkload, kService, kPolicy };

struct RecordId {
  RecordKind kind;
  std::string key;
  friend auto operator<=>(const RecordId&, const RecordId&) = default;
};

class Kept {
 public:
  struct Entry {
    std::string version;
    RecordKind kind = RecordKind::kWorkload;
    // istiod knows from this stream that we have it: claimed at its start, or sent on it and taken.
    bool known = false;
    bool refused = false;      // what was last said of it could not be taken; its former record stands
    bool key_differs = false;  // keys_ tells the record's key
    uint32_t cost = 0;         // an estimate, bytes
    uint32_t response = 0;     // the last response that named it
  };

  // `name` now stands for `record`. Returns records that nobody stands for any more.
  std::vector<RecordId> put(const std::string& name, const RecordId& record, std::string version, uint32_t cost,
                            uint32_t response);
  // The response refused what it said of `name`; its former record, if there is one, stays and is claimed no more.
  void refused(const std::string& name, uint32_t response);
  // Forgets a name, or a record known under another one: what has to go with it, if anything. `kinds`: as what an
  // unknown name may be taken, in this order.
  std::vector<RecordId> remove(const std::string& name, const std::vector<RecordKind>& kinds);

  // A stream starts: claims as much as `bytes_max` holds, the names in order.
  std::vector<std::pair<std::string, std::string>> claim(size_t bytes_max);
  // Those that istiod does not know from this stream and that `response` did not name.
  std::vector<std::string> unknown_names(uint32_t response) const;

  void set_aliases(const std::string& name, std::vector<std::string> aliases);
  // The name that an alias stands for, or the name itself; empty when neither is kept.
  std::string primary_of(const std::string& name) const;

  const Entry* find(const std::string& name) const;
  size_t size() const { return entries_.size(); }
  size_t cost() const { return cost_; }

 private:
  using Entries = std::map<std::string, Entry>;
  RecordId record_of(const Entries::value_type& entry) const;
  // The name under which a record is kept.
  Entries::iterator owner_of(const RecordId& record);
  void erase(Entries::iterator at);

  Entries entries_;
  size_t cost_ = 0;
  // The few whose key is not their name: name to key, and back.
  std::map<std::string, std::string> keys_;
  std::map<RecordId, std::string> names_;
  std::map<std::string, std::string> primaries_;             // alias to name
  std::map<std::string, std::vector<std::string>> aliases_;  // name to its aliases
};

}  // namespace culvert::xds
