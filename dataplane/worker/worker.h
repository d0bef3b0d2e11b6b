// One worker: a turn of the whole path, and the loop that repeats it.
//
// A turn is (numbers as in worker.cc): 1 requests from the control thread, 2 packets in, 3 timers, 4 TCP events to
// hbone and proxy, 5 what they wrote down to TCP, 6 segments out, 7 frames to the ports. A simulator calls turn() with
// its virtual clock; a process calls run() on a thread of its own.
#pragma once

#include <atomic>
#include <memory>
#include <stop_token>
#include <vector>

#include "base/random.h"
#include "proxy/proxy.h"
#include "telemetry/counters.h"
#include "worker/handover.h"
#include "worker/idle.h"
#include "worker/log_ring.h"
#include "worker/mailbox.h"
#include "worker/node.h"
#include "worker/pipeline.h"

namespace culvert::worker {

struct WorkerSetup {
  uint32_t index = 0;
  const NodeConfig* node = nullptr;
  Clock* clock = nullptr;
  tls::AeadBackend* aead = nullptr;
  BufferPool* pool = nullptr;
  Handover* handover = nullptr;  // null with one worker
  uint64_t seed = 0;
};

class Worker final : private proxy::Egress, private proxy::LogSink {
 public:
  explicit Worker(const WorkerSetup& setup);
  ~Worker() override;
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // --- its own thread, or the simulator ----------------------------------------------------------------------------
  // One turn. True when something happened or waits: call again without delay. Otherwise next_deadline() tells when.
  bool turn(Instant now);
  Instant next_deadline() const;
  // Another worker put packets into our ring.
  bool handed_over() const { return setup_.handover && setup_.handover->waiting(setup_.index); }
  // Turns until asked to stop, sleeping in between as the mode allows.
  void run(std::stop_token stop, PollMode mode);

  // --- any thread --------------------------------------------------------------------------------------------------
  Mailbox& mailbox() { return mailbox_; }
  LogRing& log() { return log_; }
  const Counters& counters() const { return counters_; }
  Instant heartbeat() const { return Instant{Duration{heartbeat_.load(std::memory_order_relaxed)}}; }
  // After drain(): nothing is left, and everything has been sent.
  bool drained() const { return drained_.load(std::memory_order_acquire); }
  // How run() idles.
  PollMode poll_mode() const { return mode_.load(std::memory_order_relaxed); }
  // True once a port without a receive interrupt is driven: it idles by looking every port::kIdlePollInterval.
  bool polls_ports() const { return polled_ports_.load(std::memory_order_relaxed); }

  // --- requests: inside a mailbox request, or before the loop starts ------------------------------------------------
  uint32_t index() const { return setup_.index; }
  // With several workers only one reads and writes the ports; `port` is null for the others.
  bool drives_ports() const;
  void add_uplink(InterfaceId id, const UplinkSpec& spec, const std::vector<ip::FibRoute>& routes,
                  std::unique_ptr<port::Port> port);
  void attach(InterfaceId id, const AttachmentSpec& spec, uint16_t mtu, std::unique_ptr<port::Port> port);
  void detach(InterfaceId id);
  // Answers ARP and neighbour solicitations on an uplink for pods behind it.
  void answer_for(InterfaceId uplink, const std::vector<IpAddress>& addresses);
  void install(std::shared_ptr<const snapshot::Mesh> mesh);
  void install(std::shared_ptr<const CredentialMap> credentials);
  void install(std::shared_ptr<const identity::CrlSet> crls);
  void drain(Instant due);
  void list_sessions(std::vector<SessionRow>& rows);
  void list_tunnels(std::vector<TunnelRow>& rows);
  // As proxy::Proxy::sample_traffic.
  uint32_t sample_traffic(uint32_t slot, uint32_t slots_max, std::vector<TrafficSample>& out) {
    return proxy_.sample_traffic(slot, slots_max, now_, out);
  }
  Pipeline& pipeline() { return pipeline_; }
  tcp::Stack& tcp() { return tcp_; }
  hbone::Tunnels& tunnels() { return proxy_.tunnels(); }
  proxy::Proxy& proxy() { return proxy_; }

 private:
  // proxy::Egress
  InterfaceId interface_for(const IpAddress& destination) override;
  // proxy::LogSink
  void log_line(std::string_view line) override;
  bool has_room() const override;

  void start_port(const InterfaceSetup& setup, std::unique_ptr<port::Port> port);
  void dispatch_tcp_events();

  const WorkerSetup setup_;
  Counters counters_;
  Mailbox mailbox_;
  LogRing log_;
  Idle idle_;
  tcp::Stack tcp_;
  std::unique_ptr<Steering> steering_;
  Pipeline pipeline_;
  proxy::Proxy proxy_;
  Instant now_{};
  Instant busy_at_{};                  // when the last packet came
  std::vector<InterfaceId> polled_;    // interfaces without a descriptor to wait for
  std::vector<InterfaceId> proxying_;  // uplinks that answer for pods
  std::map<InterfaceId, std::vector<IpAddress>> pod_addresses_;
  std::atomic<int64_t> heartbeat_{0};                // written by the worker, read by control
  std::atomic<PollMode> mode_{PollMode::kAdaptive};  // written by run(), read by control
  std::atomic<bool> polled_ports_{false};            // written by the worker, read by control
  std::atomic<bool> drained_{false};                 // written by the worker, read by control
};

}  // namespace culvert::worker
