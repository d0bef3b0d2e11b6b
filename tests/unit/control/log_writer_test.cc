// Lines reach the reader whole, and a reader that sleeps costs lines, not time.
#include "control/log_writer.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <optional>

#include "base/unique_fd.h"

namespace culvert::control {
namespace {

struct Pipe {
  Pipe() {
    int ends[2];
    EXPECT_EQ(::pipe(ends), 0);
    read.reset(ends[0]);
    write.reset(ends[1]);
  }
  std::string drain() {
    write.reset();
    std::string out;
    char block[65536];
    for (ssize_t n; (n = ::read(read.get(), block, sizeof(block))) > 0;) out.append(block, static_cast<size_t>(n));
    return out;
  }
  UniqueFd read, write;
};

TEST(LogWriter, WritesLinesInOrderAndWhatIsLeftAtItsEnd) {
  Pipe pipe;
  {
    LogWriter writer(pipe.write.get(), 1 << 20);
    writer.put({"a", "b"});
    writer.put({});
    writer.put({"c"});
  }
  EXPECT_EQ(pipe.drain(), "a\nb\nc\n");
}

// A socket of packets shows where each write ended.
TEST(LogWriter, WritesWholeLinesAtOnce) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
  const UniqueFd read_end(ends[0]);
  UniqueFd write_end(ends[1]);
  const std::string longest(5000, 'l');
  std::vector<std::string> lines;
  std::string expected;
  for (size_t i = 0; i < 200; ++i) lines.push_back(std::string(i, 'x'));
  lines.push_back(longest);
  lines.push_back("end");
  for (const std::string& line : lines) expected += line + "\n";
  std::thread writing([&] {
    {
      LogWriter writer(write_end.get(), 1 << 20);
      writer.put(lines);
    }
    write_end.reset();
  });
  std::string out;
  char packet[65536];
  size_t within_a_line = 0;
  for (ssize_t n; (n = ::read(read_end.get(), packet, sizeof(packet))) > 0;) {
    EXPECT_LE(n, 4096);
    within_a_line += packet[n - 1] == '\n' ? 0 : 1;
    out.append(packet, static_cast<size_t>(n));
  }
  writing.join();
  EXPECT_EQ(out, expected);
  EXPECT_EQ(within_a_line, 1u) << "only the line that is longer than a write";
}

TEST(LogWriter, LosesAndCountsWholeLinesWhenTheReaderIsSlow) {
  Pipe pipe;
  std::optional<LogWriter> writer;
  writer.emplace(pipe.write.get(), 200'000);
  const std::string line(999, 'x');
  constexpr uint64_t kLines = 2000;  // two megabytes against a pipe of 64 KiB
  for (uint64_t i = 0; i < kLines; ++i) writer->put({line});
  EXPECT_GT(writer->lost(), 0u);
  uint64_t lost = 0;
  std::thread end([&] {
    // What is queued is offered for a second more; the reader below takes it.
    while (writer->lost() == 0) std::this_thread::yield();
    lost = writer->lost();
    writer.reset();
    pipe.write.reset();
  });
  std::string out;
  char block[65536];
  for (ssize_t n; (n = ::read(pipe.read.get(), block, sizeof(block))) > 0;) out.append(block, static_cast<size_t>(n));
  end.join();
  EXPECT_EQ(out.size() % 1000, 0u) << "no line is cut";
  EXPECT_EQ(out.size() / 1000 + lost, kLines);
}

TEST(LogWriter, CountsEverythingLostWhenNobodyCanEverRead) {
  Pipe pipe;
  pipe.read.reset();
  ::signal(SIGPIPE, SIG_IGN);
  uint64_t lost = 0;
  {
    LogWriter writer(pipe.write.get(), 1 << 20);
    writer.put({"a", "b"});
    while ((lost = writer.lost()) < 2) std::this_thread::yield();
  }
  EXPECT_EQ(lost, 2u);
}

}  // namespace
}  // namespace culvert::control
