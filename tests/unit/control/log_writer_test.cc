// Lines reach the reader whole, and a reader that sleeps costs lines, not time.
#include "control/log_writer.h"

#include <gtest/gtest.h>
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
