// Keeps the node's links: makes them, hands their queues to the data plane, has them attached, withdraws those whose
// namespace or device went away, and removes those that are no longer wanted.
//
// The queue that is held here is what outlives the data plane; the copy that the data plane holds is what outlives this
// process. At the start of a session the two are joined: what we lack we take from there, what it lacks we give.
#pragma once

#include <atomic>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "control/api/attachments.grpc.pb.h"
#include "log/log.h"
#include "southbound/descriptor_client.h"
#include "southbound/keeper.h"
#include "southbound/southbound.h"

namespace culvert::southbound {

class LinkKeeper final : public Keeper {
 public:
  LinkKeeper(const Options& options, node::Links& links, log::Log& log);

  void set_links(std::vector<WantedLink> links);
  // Something about attachments or descriptors changed in the data plane: it is asked what. An event may be older than
  // what was done since, so its own word is not taken.
  void on_event();
  uint64_t attached() const { return attached_; }
  // Pods whose attachment came up, and ended; one that is down for less than a turn does not count.
  uint64_t pods_started() const { return pods_started_; }
  uint64_t pods_stopped() const { return pods_stopped_; }

 protected:
  Instant turn(const SessionPtr& session, Instant now) override;

 private:
  struct Link {
    WantedLink wanted;
    UniqueFd queue;                  // empty: not made, or taken away
    std::optional<WantedLink> made;  // as it was made; none: not yet, or not as it is wanted now
    node::NamespaceId space;         // that the device was made in
    bool given = false;              // the data plane of this session holds this queue
    bool up = false;                 // and has it attached (a port: open)
    bool waiting_told = false;       // that its namespace is not there
    Instant retry_at{};
    BackOff back_off{5s};
    std::string last_failure;
  };

  void take_inbox();
  void count_pods();
  void join(const Session& session);
  void check_states(const Session& session);
  void look_at(Link& link);
  void make(Link& link);
  void give(Link& link);
  // Makes the data plane's set of attachments equal to the links that are given, which at the start of a session may be
  // ones that were not looked at yet: they stay as they are until they were. Costs nothing when the sets are equal.
  void reconcile(const Session& session);
  void remove_unwanted();
  void take_away(Link& link);
  void failed(Link& link, const std::string& sentence);

  const Options options_;
  node::Links& links_;
  log::Log& log_;
  DescriptorClient descriptors_;

  std::mutex inbox_mutex_;
  std::optional<std::vector<WantedLink>> wanted_;  // not taken in yet
  bool states_changed_ = false;                    // over there

  // The keeper's thread only.
  uint64_t session_number_ = 0;
  bool joined_ = false;        // join() went through in this session
  bool known_wanted_ = false;  // until then nothing is made and nothing removed
  Instant make_from_ = kNever;
  std::map<std::string, Link> by_name_;
  std::vector<std::pair<std::string, UniqueFd>> unwanted_;  // devices to remove
  std::optional<std::string> told_;  // the set of the last successful Reconcile, serialised; none: tell it again
  Instant call_at_{};                // no call before, after one that failed
  BackOff call_back_off_{2s};
  std::set<std::string> pods_up_;  // as of the last turn
  std::atomic<uint64_t> attached_{0}, pods_started_{0}, pods_stopped_{0};
};

}  // namespace culvert::southbound
