// The mesh as the agent wants it to be: told by its sources (the mesh file, istiod), one record at a time or whole, and
// read by whoever carries it on.
//
//   sources ─ apply(), replace() ─▶ MeshStore ─▶ Feed   what changed since it last asked: the data plane's keeper
//                                       │     ─▶ meshed(), local_identities(): the certificates' keeper
//                                       └─────▶ for_each_…(): config_dump
//
// A change costs what its own records cost, times the logarithm of the mesh, whatever the size of the mesh. Records
// are immutable and shared, so a reader holds them as long as it likes. All calls may come from any thread.
//
// Two sources may tell a record of one key (reference 19: a local file works beside xDS): the one told last is in
// force, and a source takes away only what it told last itself.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

#include "reconcile/mesh.h"

namespace culvert::reconcile {

enum class Source : uint8_t { kFile, kIstiod };

// What a source says in one go. Removed names are keys: a workload's uid, a service's "namespace/hostname", a policy's
// "namespace/name"; one that does not stand is ignored. Removals come before additions.
struct MeshChange {
  std::vector<Workload> workloads;
  std::vector<Service> services;
  std::vector<Policy> policies;
  std::vector<std::string> removed_workloads, removed_services, removed_policies;
};

// Records to send and names to remove, in order of their keys.
struct MeshDelta {
  std::vector<std::shared_ptr<const Workload>> workloads;
  std::vector<std::shared_ptr<const Service>> services;
  std::vector<std::shared_ptr<const Policy>> policies;
  std::vector<std::string> removed_workloads, removed_services, removed_policies;

  size_t size() const;
  bool empty() const { return size() == 0; }
};

class MeshStore {
 public:
  // `node` is NODE_NAME: whose workloads are local (reference 15.3); an empty name makes none local. `sources` are the
  // ones that must have told their first whole state before the mesh counts as known.
  MeshStore(std::string node, std::set<Source> sources);
  ~MeshStore();
  MeshStore(const MeshStore&) = delete;
  MeshStore& operator=(const MeshStore&) = delete;

  void apply(Source source, MeshChange change);
  // The source's whole state, applied as a difference; it is complete then.
  void replace(Source source, Mesh mesh);
  // Further apply() calls are changes to a whole state.
  void complete(Source source);
  // Every source named at the start is complete.
  bool is_known() const;

  // Removed by the name xDS uses for an Address resource (reference 13.3): a workload's uid, else a service's key.
  bool has_workload(const std::string& uid) const;

  // Identities of workloads that speak HBONE, or will as a native tunnel (reference 15.3).
  bool is_meshed(const std::string& identity) const;
  // Those of this node, sorted.
  std::vector<std::string> local_identities() const;

  struct Counts {
    size_t workloads = 0, services = 0, policies = 0;
  };
  Counts counts() const;

  // Everything that stands, in order of its keys; nothing is removed. The lock is held for as long as it takes to copy
  // the pointers.
  MeshDelta snapshot() const;

  // In order of their keys, under the store's lock: do not call the store from `visit`.
  void for_each_workload(const std::function<void(const Workload&)>& visit) const;
  void for_each_service(const std::function<void(const Service&)>& visit) const;
  void for_each_policy(const std::function<void(const Policy&)>& visit) const;

  // Called after each change that altered something, in the thread that made it and without the lock. Set before the
  // first change; `identities`: what is_meshed() or local_identities() say may have changed.
  void on_change(std::function<void(bool identities)> call);

  // What one reader has yet to carry on. There may be several; each is asked by one thread, and ends before the store.
  class Feed {
   public:
    explicit Feed(MeshStore& store);
    ~Feed();
    Feed(const Feed&) = delete;
    Feed& operator=(const Feed&) = delete;

    // Everything that stands; what comes after it is for take(). Empty while the mesh is not known: see is_known().
    MeshDelta take_all();
    // Changes since the last take. A key that changed several times comes once, as it stands.
    MeshDelta take();

   private:
    friend class MeshStore;
    MeshStore& store_;
    std::set<std::string> workloads_, services_, policies_;  // keys that changed; under the store's lock
  };

 private:
  template <class Record>
  struct Standing {
    std::shared_ptr<const Record> record;
    Source source;
  };
  template <class Record>
  using Table = std::map<std::string, Standing<Record>>;
  struct Uses {
    uint32_t meshed = 0, local = 0;
  };

  template <class Record>
  void put(Table<Record>& table, std::set<std::string> Feed::*changed, std::string key, Record record, Source source);
  template <class Record>
  void remove(Table<Record>& table, std::set<std::string> Feed::*changed, const std::string& key, Source source);
  template <class Record>
  void replace_table(Table<Record>& table, std::set<std::string> Feed::*changed, std::map<std::string, Record> records,
                     Source source);
  void note(std::set<std::string> Feed::*changed, const std::string& key);
  void count_identity(const Workload& workload, bool stands);
  void count_identity(const Service&, bool) {}
  void count_identity(const Policy&, bool) {}
  // Ends a change: releases the lock and tells.
  void tell(std::unique_lock<std::mutex>& lock);

  const std::string node_;
  mutable std::mutex mutex_;
  std::set<Source> awaited_;
  Table<Workload> workloads_;
  Table<Service> services_;
  Table<Policy> policies_;
  std::unordered_map<std::string, Uses> identities_;
  std::set<std::string> local_identities_;
  std::vector<Feed*> feeds_;
  bool changed_ = false, identities_changed_ = false;
  std::function<void(bool)> on_change_;
};

}  // namespace culvert::reconcile
