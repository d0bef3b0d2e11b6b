// Who may listen, and who may connect.
#include "control/unix_listener.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <fstream>

#include "tests/unit/control/fake_node.h"

namespace culvert::control {
namespace {

sockaddr_un address_of(const std::string& path) {
  sockaddr_un out{};
  out.sun_family = AF_UNIX;
  std::memcpy(out.sun_path, path.data(), path.size());
  return out;
}

UniqueFd connect_to(const std::string& path) {
  UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = address_of(path);
  if (::connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) return UniqueFd();
  return socket;
}

// A socket file that its process left behind.
void leave_stale_socket(const std::string& path) {
  const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM, 0));
  const sockaddr_un address = address_of(path);
  ASSERT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
}

TEST(UnixListener, MakesItsFolderAndRemovesItsSocket) {
  const TemporaryFolder folder;
  const std::string path = folder / "run/control.sock";
  {
    auto listener = UnixListener::open(path, SOCK_STREAM, {0});
    ASSERT_TRUE(listener.ok()) << listener.error();
    struct stat file {};
    ASSERT_EQ(::stat(path.c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 0777u, 0600u);
    EXPECT_TRUE(connect_to(path));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(UnixListener, ReplacesASocketThatNobodyServes) {
  const TemporaryFolder folder;
  leave_stale_socket(folder / "s");
  auto listener = UnixListener::open(folder / "s", SOCK_STREAM, {0});
  ASSERT_TRUE(listener.ok()) << listener.error();
  EXPECT_TRUE(connect_to(folder / "s"));
}

TEST(UnixListener, LeavesASocketInUseAlone) {
  const TemporaryFolder folder;
  const std::string sentence =
      " is in use: another culvert-dataplane serves it; stop that one, or give this one other "
      "sockets in culvert.yaml (control.socket, control.descriptors)";
  const auto first = UnixListener::open(folder / "s", SOCK_STREAM, {0});
  ASSERT_TRUE(first.ok());
  const auto second = UnixListener::open(folder / "s", SOCK_STREAM, {0});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error(), (folder / "s") + sentence);
  EXPECT_TRUE(connect_to(folder / "s"));

  // Another program's, which takes no lock.
  const UniqueFd other(::socket(AF_UNIX, SOCK_STREAM, 0));
  const sockaddr_un address = address_of(folder / "t");
  ASSERT_EQ(::bind(other.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(::listen(other.get(), 1), 0);
  const auto third = UnixListener::open(folder / "t", SOCK_STREAM, {0});
  ASSERT_FALSE(third.ok());
  EXPECT_EQ(third.error(), (folder / "t") + sentence);
}

TEST(UnixListener, NeverRemovesWhatIsNoSocket) {
  const TemporaryFolder folder;
  std::ofstream(folder / "s") << "precious";
  const auto listener = UnixListener::open(folder / "s", SOCK_STREAM, {0});
  ASSERT_FALSE(listener.ok());
  EXPECT_EQ(listener.error(), "cannot listen on " + (folder / "s") +
                                  ": something that is no socket lies there; remove it or choose another path");
  EXPECT_TRUE(std::filesystem::exists(folder / "s"));
  EXPECT_EQ(UnixListener::open(folder / "a/b/s", SOCK_STREAM, {0}).error(),
            "cannot listen on " + (folder / "a/b/s") + ": the folder cannot be made: No such file or directory");
  EXPECT_EQ(UnixListener::open("/" + std::string(107, 'x'), SOCK_STREAM, {0}).error().substr(0, 18),
            "cannot listen on `");
}

TEST(UnixListener, JudgesByTheUserThatTheKernelRecorded) {
  const TemporaryFolder folder;
  ASSERT_EQ(::chmod(folder.path().c_str(), 0755), 0);
  constexpr uint32_t kNobody = 65'534;
  auto listener = UnixListener::open(folder / "s", SOCK_STREAM, {0, 1337});
  ASSERT_TRUE(listener.ok());
  EXPECT_FALSE((*listener)->accept().connection) << "nobody waits";
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setuid(kNobody) != 0) ::_exit(2);
    const UniqueFd connection = connect_to(folder / "s");
    char byte;
    // Closed without a byte.
    ::_exit(connection && ::read(connection.get(), &byte, 1) == 0 ? 0 : 1);
  }
  UnixListener::Accepted accepted;
  while (!accepted.stranger && !accepted.connection) accepted = (*listener)->accept();
  EXPECT_TRUE(accepted.stranger);
  EXPECT_EQ(accepted.uid, kNobody);
  EXPECT_FALSE(accepted.connection);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);

  const UniqueFd own = connect_to(folder / "s");
  accepted = (*listener)->accept();
  EXPECT_TRUE(accepted.connection);
  EXPECT_FALSE(accepted.stranger);
}

}  // namespace
}  // namespace culvert::control
