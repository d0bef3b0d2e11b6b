// The watch, on a clock that the test moves: every way in which a file gets new content, and no false alarm.
#include "local/file_watch.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace culvert::local {
namespace {

namespace fs = std::filesystem;

class FileWatchTest : public testing::Test {
 protected:
  FileWatchTest() {
    std::string name = (fs::temp_directory_path() / "culvert-watch-XXXXXX").string();
    dir_ = mkdtemp(name.data());
  }
  ~FileWatchTest() override { fs::remove_all(dir_); }

  void write(const std::string& name, const std::string& text) { std::ofstream(dir_ / name) << text; }

  // Time passes; whether the watch reported a change at the end of it.
  bool after(FileWatch& watch, Duration span) {
    const bool during = watch.poll(now_);
    now_ += span;
    return watch.poll(now_) || during;
  }

  fs::path dir_;
  Instant now_{1h};
};

TEST_F(FileWatchTest, SeesAFileWrittenInPlaceOnceItHasBeenQuiet) {
  write("mesh.yaml", "a");
  FileWatch watch(dir_ / "mesh.yaml", now_);
  EXPECT_FALSE(after(watch, 300ms)) << "the content at the start is known";
  write("mesh.yaml", "ab");
  EXPECT_FALSE(after(watch, 100ms)) << "not quiet yet";
  write("mesh.yaml", "abc");
  EXPECT_FALSE(after(watch, 150ms)) << "quiet counts from the last event";
  EXPECT_TRUE(after(watch, 100ms));
  EXPECT_FALSE(after(watch, 1s)) << "told once";
}

TEST_F(FileWatchTest, SeesARename) {
  write("mesh.yaml", "a");
  FileWatch watch(dir_ / "mesh.yaml", now_);
  write(".mesh.yaml.swp", "b");
  fs::rename(dir_ / ".mesh.yaml.swp", dir_ / "mesh.yaml");
  EXPECT_TRUE(after(watch, 250ms));
}

TEST_F(FileWatchTest, SeesTheSwapOfALinkBesideIt) {
  for (const char* version : {"v1", "v2"}) {
    fs::create_directory(dir_ / version);
    write(std::string(version) + "/mesh.yaml", version);
  }
  fs::create_directory_symlink("v1", dir_ / "..data");
  fs::create_symlink("..data/mesh.yaml", dir_ / "mesh.yaml");
  FileWatch watch(dir_ / "mesh.yaml", now_);
  fs::create_directory_symlink("v2", dir_ / "..data_tmp");
  fs::rename(dir_ / "..data_tmp", dir_ / "..data");
  EXPECT_TRUE(after(watch, 250ms));
}

TEST_F(FileWatchTest, ANeighbourIsNoChange) {
  write("mesh.yaml", "a");
  FileWatch watch(dir_ / "mesh.yaml", now_);
  write("other.yaml", "b");
  EXPECT_FALSE(after(watch, 10s));
}

TEST_F(FileWatchTest, ADirectoryThatNeverRestsDelaysTheLookByASecondAtMost) {
  write("mesh.yaml", "a");
  FileWatch watch(dir_ / "mesh.yaml", now_);
  write("mesh.yaml", "ab");
  int polls = 0;
  bool changed = false;
  for (; !changed && polls < 100; polls++) {
    write("busy", std::to_string(polls));
    changed = after(watch, 100ms);
  }
  EXPECT_TRUE(changed);
  EXPECT_LE(polls, 11);
}

TEST_F(FileWatchTest, LooksByItselfWhereNoEventComes) {
  fs::create_directory(dir_ / "watched");
  fs::create_directory(dir_ / "elsewhere");
  write("elsewhere/mesh.yaml", "a");
  fs::create_symlink(dir_ / "elsewhere/mesh.yaml", dir_ / "watched/mesh.yaml");
  FileWatch watch(dir_ / "watched/mesh.yaml", now_);
  write("elsewhere/mesh.yaml", "ab");
  EXPECT_FALSE(after(watch, 1s));
  EXPECT_TRUE(after(watch, 4s));
}

TEST_F(FileWatchTest, AFileAndItsDirectoryMayComeLaterAndGo) {
  FileWatch watch(dir_ / "later/mesh.yaml", now_);
  EXPECT_FALSE(after(watch, 6s));
  fs::create_directory(dir_ / "later");
  write("later/mesh.yaml", "a");
  EXPECT_TRUE(after(watch, 5s)) << "the directory could not be watched before it was there";
  write("later/mesh.yaml", "ab");
  EXPECT_TRUE(after(watch, 250ms)) << "now it is";
  fs::remove_all(dir_ / "later");
  EXPECT_TRUE(after(watch, 250ms));
  fs::create_directory(dir_ / "later");
  write("later/mesh.yaml", "ab");
  EXPECT_TRUE(after(watch, 5s));
}

TEST_F(FileWatchTest, DueIsWhenPollHasSomethingToDo) {
  write("mesh.yaml", "a");
  FileWatch watch(dir_ / "mesh.yaml", now_);
  EXPECT_EQ(watch.due(), now_ + 5s);
  write("mesh.yaml", "ab");
  EXPECT_FALSE(watch.poll(now_));
  EXPECT_EQ(watch.due(), now_ + 200ms);
  now_ = watch.due();
  EXPECT_TRUE(watch.poll(now_));
  EXPECT_EQ(watch.due(), now_ + 5s);
}

}  // namespace
}  // namespace culvert::local
