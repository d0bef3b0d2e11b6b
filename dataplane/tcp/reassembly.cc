#include "tcp/reassembly.h"

#include <algorithm>
#include <array>

#include "tcp/compaction.h"

namespace culvert::tcp {

size_t Reassembly::find(Seq seq) const {
  const auto at = std::partition_point(runs_.begin(), runs_.end(), [seq](const Run& r) { return r.end <= seq; });
  return static_cast<size_t>(at - runs_.begin());
}

Reassembly::Inserted Reassembly::insert(Seq begin, Packet bytes) {
  Inserted result;
  ++stamp_;
  while (bytes.bytes() > 0) {
    const Seq end = begin + bytes.bytes();
    const size_t at = find(begin);
    if (at < runs_.size() && runs_[at].begin <= begin) {
      // Held already, at least to the end of that run. It is news that it came again: report that block first.
      const uint32_t held = bytes_between(begin, earlier(end, runs_[at].end));
      if (!result.duplicate) result.duplicate = wire::SackBlock{begin.value(), (begin + held).value()};
      runs_[at].stamp = stamp_;
      bytes.trim_front(held);
      begin += held;
      continue;
    }
    Packet piece;
    if (at < runs_.size() && runs_[at].begin < end) {
      piece = bytes.split_front(bytes_between(begin, runs_[at].begin));
    } else {
      piece = std::move(bytes);
    }
    const uint32_t length = piece.bytes();
    const bool continues = at > 0 && runs_[at - 1].end == begin;
    if (length == 0 || (!continues && runs_.size() >= kRunsMax)) {
      result.refused_bytes += length + bytes.bytes();
      break;
    }
    if (!continues) {
      Run run;
      run.begin = run.end = begin;
      runs_.insert(runs_.begin() + static_cast<std::ptrdiff_t>(at), std::move(run));
    }
    Run& run = runs_[continues ? at - 1 : at];
    memory_ -= run.bytes.memory_bytes();
    run.bytes.append(std::move(piece));
    memory_ += run.bytes.memory_bytes();
    run.end += length;
    run.stamp = stamp_;
    bytes_ += length;
    result.taken_bytes += length;
    begin += length;
  }
  return result;
}

Packet Reassembly::take(Seq next) {
  blocked_ = false;
  while (!runs_.empty() && runs_.front().begin <= next) {
    Run& run = runs_.front();
    const uint32_t passed = bytes_between(run.begin, earlier(next, run.end));
    const uint64_t memory = run.bytes.memory_bytes();
    run.bytes.drop_front(passed);
    run.begin += passed;
    bytes_ -= passed;
    Packet packet;
    if (!run.bytes.empty()) {
      const auto length = static_cast<uint32_t>(std::min<uint64_t>(run.bytes.bytes(), kPacketBytesMax));
      packet = run.bytes.take_front(length);
      if (!packet) {
        blocked_ = true;
        memory_ -= memory - run.bytes.memory_bytes();
        return {};
      }
      bytes_ -= length;
      run.begin += length;
    }
    memory_ -= memory - run.bytes.memory_bytes();
    if (run.bytes.empty()) runs_.erase(runs_.begin());
    if (packet) return packet;
  }
  return {};
}

size_t Reassembly::sack_blocks(std::span<wire::SackBlock> out) const {
  struct Block {
    Seq begin, end;
    uint64_t stamp;
  };
  std::array<Block, 4> latest;
  const size_t wanted = std::min(out.size(), latest.size());
  size_t count = 0;
  for (size_t i = 0; i < runs_.size();) {
    Block block{runs_[i].begin, runs_[i].end, runs_[i].stamp};
    for (++i; i < runs_.size() && runs_[i].begin == block.end; ++i) {
      block.end = runs_[i].end;
      block.stamp = std::max(block.stamp, runs_[i].stamp);
    }
    size_t place = count;
    while (place > 0 && latest[place - 1].stamp < block.stamp) --place;
    if (place >= wanted) continue;
    for (size_t k = std::min(count, wanted - 1); k > place; --k) latest[k] = latest[k - 1];
    latest[place] = block;
    count = std::min(count + 1, wanted);
  }
  for (size_t i = 0; i < count; ++i) out[i] = {latest[i].begin.value(), latest[i].end.value()};
  return count;
}

uint64_t Reassembly::memory_share_bytes() const {
  uint64_t total = 0;
  for (const Run& run : runs_) total += run.bytes.memory_share_bytes();
  return total;
}

uint64_t Reassembly::compact(BufferPool& pool) {
  uint64_t copied = 0;
  for (Run& run : runs_) {
    memory_ -= run.bytes.memory_bytes();
    copied += compact_queue(run.bytes, pool);
    memory_ += run.bytes.memory_bytes();
  }
  return copied;
}

void Reassembly::clear() {
  runs_ = std::vector<Run>();
  bytes_ = memory_ = 0;
  blocked_ = false;
}

}  // namespace culvert::tcp
