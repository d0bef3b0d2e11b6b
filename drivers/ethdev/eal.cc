#include "drivers/ethdev/eal.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>

namespace culvert::ethdev {

namespace {

// What rte_mempool keeps per object besides it (header, trailer, alignment to cache lines), rounded up.
constexpr uint64_t kObjectOverheadBytes = 192;
// Device and queue structures, rings, the memif and AF_XDP drivers' own memory, EAL's heaps.
constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t kDriverBytes = 32ull << 20;

// Of the default size: what EAL would take first.
uint64_t free_huge_page_bytes() {
  std::ifstream meminfo("/proc/meminfo");
  uint64_t free = 0, kilobytes = 0;
  std::string line;
  while (std::getline(meminfo, line)) {
    char name[64];
    unsigned long value = 0;
    if (std::sscanf(line.c_str(), "%63[^:]: %lu", name, &value) != 2) continue;
    if (std::strcmp(name, "HugePages_Free") == 0) free = value;
    if (std::strcmp(name, "Hugepagesize") == 0) kilobytes = value;
  }
  return free * kilobytes * 1024;
}

// "0-3,8": the CPUs this thread may run on.
std::string cpu_list(const cpu_set_t& set) {
  std::string out;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) continue;
    if (!out.empty()) out += ',';
    out += std::to_string(cpu);
  }
  return out;
}

}  // namespace

uint32_t memory_mb_for(const PoolLimits& limits, uint32_t pools, bool huge_pages) {
  const uint64_t fixed = sizeof(rte_mbuf) + kPrivateBytes + kObjectOverheadBytes;
  // An object does not cross a page if it fits one (rte_mempool_op_calc_mem_size_helper); of small buffers one fits
  // an ordinary page.
  auto object = [&](uint64_t bytes) {
    return huge_pages || bytes < kPageBytes / 2 ? bytes : std::max(bytes, kPageBytes);
  };
  const uint64_t pool = limits.small * object(fixed + kHeadroom + kSmallRoom) +
                        limits.large * object(fixed + kHeadroom + kLargeRoom) + limits.view * object(fixed);
  // The pools' rings of pointers, rounded up to a power of two.
  const uint64_t rings = 32ull * (limits.small + limits.large + limits.view);
  const uint64_t bytes = pools * (pool + rings) + kDriverBytes;
  return static_cast<uint32_t>((bytes + (1u << 20) - 1) >> 20);
}

Result<std::unique_ptr<Eal>, std::string> Eal::start(const EalSettings& settings) {
  const uint32_t huge_mb = memory_mb_for(settings.limits, settings.pools, true);
  const uint64_t available = free_huge_page_bytes();
  std::unique_ptr<Eal> eal(new Eal);
  eal->huge_pages_ = settings.huge_pages != HugePages::kNever && available >= uint64_t{huge_mb} << 20;
  if (settings.huge_pages == HugePages::kRequired && !eal->huge_pages_) {
    return Failure{"huge pages are required and only " + std::to_string(available >> 20) + " MB of them are free; " +
                   std::to_string(huge_mb) + " MB are needed: raise vm.nr_hugepages"};
  }
  const uint32_t memory_mb = eal->huge_pages_ ? huge_mb : memory_mb_for(settings.limits, settings.pools, false);

  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  sched_getaffinity(0, sizeof allowed, &allowed);
  auto& arguments = eal->arguments_;
  arguments = {"culvert", "--no-telemetry", "--file-prefix=" + settings.file_prefix,
               // One EAL core on all CPUs: threads stay where the scheduler wants them.
               "--lcores=0@(" + cpu_list(allowed) + ")", "--log-level=warning", "-m", std::to_string(memory_mb)};
  if (eal->huge_pages_) {
    arguments.push_back("--in-memory");
  } else {
    arguments.push_back("--no-huge");
    arguments.push_back("--no-shconf");
  }
  if (settings.pci_allowed.empty()) {
    arguments.push_back("--no-pci");
    // With no device to ask, EAL may choose physical addresses, which need a privilege to look up.
    arguments.push_back("--iova-mode=va");
  }
  for (const std::string& address : settings.pci_allowed) {
    arguments.push_back("-a");
    arguments.push_back(address);
  }
  std::vector<std::string> copies = arguments;  // EAL keeps and reorders them
  std::vector<char*> argv;
  for (std::string& a : copies) argv.push_back(a.data());
  const int taken = rte_eal_init(static_cast<int>(argv.size()), argv.data());
  sched_setaffinity(0, sizeof allowed, &allowed);
  if (taken < 0) {
    return Failure{std::string("DPDK's environment does not start: ") + rte_strerror(rte_errno) +
                   (rte_errno == EALREADY ? " (it starts once per process)" : "")};
  }
  return eal;
}

Eal::~Eal() { rte_eal_cleanup(); }

bool register_thread() { return rte_lcore_id() != LCORE_ID_ANY || rte_thread_register() == 0; }
void unregister_thread() { rte_thread_unregister(); }

}  // namespace culvert::ethdev
