// Every question, in both forms, against a served contract; and what is said when there is none.
#include "ctl/command_line.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "base/unique_fd.h"
#include "tests/unit/control/served.h"
#include "tests/unit/controlagent/ctl/ran.h"

namespace culvert::ctl {
namespace {

using control::Served;
using testing::HasSubstr;
using testing::StartsWith;

class CommandLine : public testing::Test {
 protected:
  Ran ask(std::vector<std::string> words) {
    words.insert(words.begin(), {"--socket", served.folder / "control.sock"});
    const Ran result = ran(words);
    EXPECT_EQ(result.status, kDone) << result.err;
    EXPECT_EQ(result.err, "");
    return result;
  }
  Served served;
};

TEST_F(CommandLine, ShowsTheNode) {
  served.node.silence = {250ms, 0s};
  served.node.wanted = {"uplink0"};
  const std::string out = ask({"status"}).out;
  EXPECT_THAT(out, HasSubstr("node:              n1\n"));
  EXPECT_THAT(out, HasSubstr("agent:             not connected: the last state stays in force\n"));
  EXPECT_THAT(out, HasSubstr("worker 0:          last heartbeat 0.2s ago, adaptive\n"));
  EXPECT_THAT(out, HasSubstr("waits for:         port:uplink0 (the agent opens and hands over their devices)\n"));
  EXPECT_THAT(out, HasSubstr("attachments:\n  ID  WORKLOAD"));
  const std::string json = ask({"status", "-o", "json"}).out;
  EXPECT_THAT(json, StartsWith("{\n  \"node\": \"n1\",\n  \"build\": \"9.9.9\""));
  EXPECT_THAT(json, HasSubstr("\"agent_connected\": false"));
  EXPECT_THAT(json, HasSubstr("\"certificates\": []"));
  EXPECT_THAT(json, HasSubstr("\"descriptors_wanted\": [\n    \"port:uplink0\"\n  ]"));
}

TEST_F(CommandLine, ShowsSessions) {
  worker::SessionRow row{};
  row.direction = "outbound";
  row.source = *Endpoint::parse("10.1.0.11:40000");
  row.destination = *Endpoint::parse("[fd02::11]:80");
  row.hbone_authority = "[fd02::11]:80";
  row.source_identity = "spiffe://cluster.local/ns/demo/sa/web";
  row.state = "open";
  row.bytes_sent = 2048;
  row.age = 61s;
  served.node.session_rows = {row};
  EXPECT_EQ(ask({"sessions"}).out,
            "DIRECTION  SOURCE           DESTINATION    AUTHORITY      SOURCE_IDENTITY               "
            "DESTINATION_IDENTITY  TUNNEL_PEER  STATE  SENT  RECEIVED  AGE\n"
            "outbound   10.1.0.11:40000  [fd02::11]:80  [fd02::11]:80  cluster.local/ns/demo/sa/web  "
            "-                     -            open   2.0K         0  1m01s\n");
  const std::string json = ask({"sessions", "-o", "json"}).out;
  EXPECT_THAT(json, StartsWith("[\n  {\n    \"direction\": \"outbound\",\n    \"source\": \"10.1.0.11:40000\""));
  EXPECT_THAT(json, HasSubstr("\"source_identity\": \"spiffe://cluster.local/ns/demo/sa/web\""));
  EXPECT_THAT(json, HasSubstr("\"bytes_sent\": 2048"));
  EXPECT_THAT(json, HasSubstr("\"age_ms\": 61000"));
}

TEST_F(CommandLine, ShowsTunnelsAndPorts) {
  worker::TunnelRow tunnel{};
  tunnel.role = "client";
  tunnel.local = *Endpoint::parse("10.1.0.11:40000");
  tunnel.remote = *Endpoint::parse("10.2.0.11:15008");
  tunnel.cipher = "TLS_AES_256_GCM_SHA384";
  tunnel.aead = "ipsec_mb";
  tunnel.records_sealed = 7;
  tunnel.records_opened = 8;
  tunnel.bytes_sealed = 9;
  tunnel.bytes_opened = 10;
  served.node.tunnel_rows = {tunnel};
  EXPECT_THAT(ask({"tunnels"}).out, HasSubstr("10.2.0.11:15008  -"));
  EXPECT_THAT(
      ask({"tunnels", "-o", "json"}).out,
      HasSubstr(
          "\"records_sealed\": 7,\n    \"records_opened\": 8,\n    \"bytes_sealed\": 9,\n    \"bytes_opened\": 10"));
  worker::PortRow port{};
  port.name = "uplink0";
  port.driver = "ethdev net_memif";
  port.role = worker::PortRole::kUplink;
  port.mtu = 1500;
  port.queues = 1;
  port.mac = {2, 0, 0, 0, 0, 0xab};
  port.link_up = true;
  served.node.port_rows = {port};
  const std::string table = ask({"ports"}).out;
  EXPECT_THAT(table, HasSubstr("uplink0  uplink  ethdev_net_memif  up    1500       1  02:00:00:00:00:ab"));
  EXPECT_THAT(table, HasSubstr("polled"));
  const std::string json = ask({"ports", "-o", "json"}).out;
  EXPECT_THAT(json, HasSubstr("\"driver\": \"ethdev net_memif\""));
  EXPECT_THAT(json, HasSubstr("\"link_up\": true"));
  EXPECT_THAT(json, HasSubstr("\"receive_wakeup\": false"));
}

TEST_F(CommandLine, ShowsWhatIsAboveZeroOrAll) {
  EXPECT_EQ(ask({"drops"}).out,
            "REASON         ROOM  COUNT  MEANING\n"
            "eth_too_short  eth       7  frame shorter than its Ethernet header\n");
  EXPECT_EQ(ask({"counters", "--per-worker"}).out,
            "NAME            VALUE  UNIT     BY_WORKER\n"
            "port_rx_packet     21  packets  10,11\n");
  const std::string all = ask({"drops", "--all"}).out;
  EXPECT_EQ(static_cast<size_t>(std::count(all.begin(), all.end(), '\n')), kDropReasons + 1);
  EXPECT_THAT(ask({"drops", "-o", "json"}).out,
              HasSubstr("\"name\": \"eth_unknown_type\",\n    \"room\": \"eth\",\n    \"value\": 0"));
  EXPECT_THAT(ask({"-o", "json", "counters", "--per-worker"}).out,
              HasSubstr("\"by_worker\": [\n      10,\n      11\n    ]"));
}

TEST_F(CommandLine, TakesOptionsBeforeAndBehindTheCommand) {
  const std::string socket = served.folder / "control.sock";
  EXPECT_EQ(ran({"status", "--socket", socket, "--output", "json"}).status, kDone);
  EXPECT_EQ(ran({"--output", "json", "--socket", socket, "status"}).status, kDone);
  ::setenv("CULVERT_CONTROL_SOCKET", socket.c_str(), 1);
  EXPECT_EQ(ran({"status"}).status, kDone);
  ::unsetenv("CULVERT_CONTROL_SOCKET");
}

TEST_F(CommandLine, TellsAStrangerWhoMayAsk) {
  served.allowed_uids = {0, 1337};
  served.start();
  ASSERT_EQ(::chmod(served.folder.path().c_str(), 0755), 0);
  const std::string socket = served.folder / "control.sock";
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  // The program itself, by descriptor: the stranger may not be allowed into the folder it lies in. A child of a process
  // with threads does nothing but system calls before it becomes that program.
  const char* path = std::getenv("CULVERTCTL");
  ASSERT_NE(path, nullptr) << "CULVERTCTL names the program";
  const UniqueFd program(::open(path, O_RDONLY));
  ASSERT_TRUE(program) << path;
  const char* const words[] = {"culvertctl", "--socket", socket.c_str(), "status", nullptr};
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setuid(65'534) != 0 || ::dup2(ends[1], 2) < 0) ::_exit(9);
    ::execveat(program.get(), "", const_cast<char* const*>(words), environ, AT_EMPTY_PATH);
    ::_exit(127);
  }
  ::close(ends[1]);
  std::string said;
  char block[4096];
  for (ssize_t n; (n = ::read(ends[0], block, sizeof(block))) > 0;) said.append(block, static_cast<size_t>(n));
  ::close(ends[0]);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WEXITSTATUS(status), kFailed);
  EXPECT_EQ(said, "culvertctl: the data plane at " + socket +
                      " does not talk to user 65534: become one of control.allowed_uids in its culvert.yaml\n");
}

TEST_F(CommandLine, SaysWhenVersionsAreTooFarApart) {
  served.start(7, 8);
  const Ran result = ran({"--socket", served.folder / "control.sock", "status"});
  EXPECT_EQ(result.status, kFailed);
  EXPECT_THAT(result.err,
              StartsWith("culvertctl: this data plane (9.9.9) speaks contract versions 7 to 8, culvertctl ("));
}

TEST(CommandLineAlone, SaysInOneSentenceWhatToDoWithoutADataPlane) {
  const control::TemporaryFolder folder;
  const std::string socket = folder / "s";
  Ran result = ran({"--socket", socket, "status"});
  EXPECT_EQ(result.status, kFailed);
  EXPECT_EQ(result.out, "");
  EXPECT_EQ(result.err, "culvertctl: no data plane at " + socket +
                            ": start culvert-dataplane, or name another one with --socket\n");
  const UniqueFd stale(::socket(AF_UNIX, SOCK_STREAM, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, socket.data(), socket.size());
  ASSERT_EQ(::bind(stale.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)), 0);
  result = ran({"--socket", socket, "status"});
  EXPECT_EQ(result.status, kFailed);
  EXPECT_EQ(result.err, "culvertctl: nobody serves " + socket +
                            ": culvert-dataplane has ended; start it, or name another one with --socket\n");
  EXPECT_EQ(ran({"--socket", std::string(200, 'x'), "status"}).err,
            "culvertctl: socket path `" + std::string(200, 'x') + "`: 1 to 107 bytes are accepted\n");
}

TEST(CommandLineAlone, RefusesWordsItDoesNotKnow) {
  for (const std::vector<std::string>& words : std::vector<std::vector<std::string>>{{},
                                                                                     {"stauts"},
                                                                                     {"status", "more"},
                                                                                     {"status", "-o", "xml"},
                                                                                     {"status", "--all"},
                                                                                     {"ca"},
                                                                                     {"ca", "issue"},
                                                                                     {"--socket"}}) {
    const Ran result = ran(words);
    EXPECT_EQ(result.status, kUsage);
    EXPECT_THAT(result.err, StartsWith("culvertctl: "));
    EXPECT_EQ(result.out, "");
  }
}

TEST(CommandLineAlone, HelpsAndNamesItsVersion) {
  const Ran help = ran({"--help"});
  EXPECT_EQ(help.status, kDone);
  for (const char* word :
       {"status", "sessions", "tunnels", "ports", "drops", "counters", "ca", "--socket", "Exit status"}) {
    EXPECT_THAT(help.out, HasSubstr(word));
  }
  EXPECT_THAT(ran({"drops", "--help"}).out, HasSubstr("--per-worker"));
  EXPECT_EQ(ran({"--version"}).out, "culvertctl " CULVERT_VERSION "\n");
}

}  // namespace
}  // namespace culvert::ctl
