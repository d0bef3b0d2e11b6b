// The certificate authority from the command line. What is in the files is tested in the ca room.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/unit/control/fake_node.h"
#include "tests/unit/controlagent/ctl/ran.h"

namespace culvert::ctl {
namespace {

uint32_t mode_of(const std::string& path) {
  struct stat file {};
  return ::stat(path.c_str(), &file) == 0 ? file.st_mode & 0777u : 0;
}

TEST(CaCommand, MakesAnAuthorityAndIssuesFromIt) {
  const control::TemporaryFolder folder;
  const std::string dir = folder / "ca", out = folder / "peer";
  const Ran made = ran({"ca", "init", dir});
  EXPECT_EQ(made.status, kDone) << made.err;
  EXPECT_EQ(made.out, "made a certificate authority in " + dir + "; peers trust " + dir + "/root-cert.pem\n");
  const Ran again = ran({"ca", "init", dir});
  EXPECT_EQ(again.status, kFailed);
  EXPECT_EQ(again.err.substr(0, 12), "culvertctl: ");
  const Ran issued =
      ran({"ca", "issue", "spiffe://cluster.local/ns/demo/sa/peer", "--dir", dir, "--out", out, "--lifetime", "10m"});
  EXPECT_EQ(issued.status, kDone) << issued.err;
  EXPECT_EQ(issued.out, "wrote " + out + "-key.pem and " + out +
                            "-chain.pem for spiffe://cluster.local/ns/demo/sa/peer, valid for 10m\n");
  EXPECT_EQ(mode_of(out + "-key.pem"), 0600u);
  EXPECT_EQ(mode_of(out + "-chain.pem"), 0600u);
}

TEST(CaCommand, RefusesLifetimesAndNamesThatAreNone) {
  const control::TemporaryFolder folder;
  for (const char* lifetime : {"25h", "0s", "ten", "10"}) {
    const Ran result = ran(
        {"ca", "issue", "spiffe://c/ns/a/sa/b", "--dir", folder.path(), "--out", folder / "x", "--lifetime", lifetime});
    EXPECT_EQ(result.status, kUsage);
    EXPECT_EQ(result.err,
              "culvertctl: --lifetime: a time from 1s to 24h is accepted, not `" + std::string(lifetime) + "`\n");
  }
  const std::string dir = folder / "ca";
  ASSERT_EQ(ran({"ca", "init", dir}).status, kDone);
  EXPECT_EQ(ran({"ca", "issue", "web", "--dir", dir, "--out", folder / "x"}).status, kFailed);
  EXPECT_EQ(ran({"ca", "issue", "spiffe://c/ns/a/sa/b", "--dir", folder / "none", "--out", folder / "x"}).status,
            kFailed);
}

}  // namespace
}  // namespace culvert::ctl
