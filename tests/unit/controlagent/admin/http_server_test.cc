// The HTTP server with clients that are slow, rude or many: none stalls another, and memory has bounds.
#include "admin/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <atomic>
#include <future>
#include <thread>

#include "tests/unit/controlagent/admin/http_client.h"

namespace culvert::admin {
namespace {

using testing::HasSubstr;
using Clock = std::chrono::steady_clock;

std::string unpacked(const std::string& packed) {
  z_stream stream{};
  EXPECT_EQ(inflateInit2(&stream, 16 + MAX_WBITS), Z_OK);
  std::string out(64 << 20, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  inflateEnd(&stream);
  return out;
}

class HttpServerTest : public testing::Test {
 protected:
  void serve(size_t connections_max = 4) {
    auto started = serve_http(*Endpoint::parse("127.0.0.1:0"), connections_max, "the test", "test.listen",
                              [this](const HttpRequest& request) { return answer(request); });
    ASSERT_TRUE(started) << started.error();
    server_ = std::move(*started);
    server_->begin();
  }

  HttpReply answer(const HttpRequest& request) {
    answered_++;
    HttpReply reply;
    if (request.path == "/throw") throw std::runtime_error("a secret");
    if (request.path == "/broken") {
      reply.stream = [](const Sink& sink) { return sink("half") && false; };
    } else if (request.path == "/long") {
      reply.stream = [this](const Sink& sink) {
        const std::string piece(64 << 10, 'x');
        for (int i = 0; i < 200; i++) {
          if (!sink(piece)) return false;
          pieces_++;
        }
        return true;
      };
    } else if (request.path == "/text") {
      reply.body = std::string(5000, 'y');
      reply.content_type = "application/openmetrics-text;charset=utf-8;version=1.0.0";
    } else {
      reply.body = request.method + " " + request.path;
      if (const std::string* q = request.query("q")) reply.body += " q=" + *q;
    }
    return reply;
  }

  Client client() const { return Client(server_->address()); }

  std::atomic<int> answered_{0}, pieces_{0};
  std::unique_ptr<HttpServer> server_;
};

TEST_F(HttpServerTest, AnswersOneRequestAfterAnother) {
  serve();
  Client c = client();
  EXPECT_EQ(c.get("/a").body, "GET /a");
  EXPECT_EQ(c.get("/b%20c?q=1%2C2").body, "GET /b c q=1,2");
  c.send("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
  EXPECT_EQ(c.read().body, "GET /1");
  EXPECT_EQ(c.read().body, "GET /2");
  EXPECT_EQ(server_->counts().connections, 1u);
}

TEST_F(HttpServerTest, AnswersHeadWithoutABody) {
  serve();
  Client c = client();
  c.send("HEAD /a HTTP/1.1\r\n\r\n");
  EXPECT_EQ(c.read(true).status, 200);
  EXPECT_EQ(c.get("/b").body, "GET /b") << "the connection goes on";
}

TEST_F(HttpServerTest, ABodyIsNotReadAndEndsTheConnection) {
  serve();
  Client c = client();
  c.send("POST /a HTTP/1.1\r\nContent-Length: 30\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\nabcd");
  const Answer first = c.read();
  EXPECT_EQ(first.body, "POST /a");
  EXPECT_EQ(first.header("Connection"), "close");
  EXPECT_TRUE(c.ends());
  EXPECT_EQ(answered_, 1);
}

TEST_F(HttpServerTest, HttpOneZeroGetsItsAnswerAndTheEnd) {
  serve();
  Client c = client();
  c.send("GET /long HTTP/1.0\r\n\r\n");
  const Answer answer = c.read();
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body.size(), 200u * (64 << 10));
}

TEST_F(HttpServerTest, PacksWhatIsAskedForInGzip) {
  serve();
  Client c = client();
  const Answer text = c.get("/text", "Accept-Encoding: gzip\r\n");
  EXPECT_EQ(text.header("Content-Encoding"), "gzip");
  EXPECT_EQ(unpacked(text.body), std::string(5000, 'y'));
  const Answer stream = c.get("/long", "Accept-Encoding: deflate, gzip;q=0.5\r\n");
  EXPECT_EQ(stream.header("Content-Encoding"), "gzip");
  EXPECT_EQ(unpacked(stream.body), std::string(200u * (64 << 10), 'x'));
  EXPECT_EQ(c.get("/text").header("Content-Encoding"), "");
  EXPECT_EQ(c.get("/text", "Accept-Encoding: gzip;q=0\r\n").body, std::string(5000, 'y'));
  EXPECT_EQ(c.get("/a", "Accept-Encoding: gzip\r\n").body, "GET /a") << "too short to gain";
}

TEST_F(HttpServerTest, BadRequestsAreRefusedAndEndTheConnection) {
  serve();
  const std::string bad[] = {"hello\r\n\r\n", "FLY / HTTP/1.1\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/9.9\r\n\r\n",
                             std::string("GET /\0x HTTP/1.1\r\n\r\n", 21)};
  for (const std::string& request : bad) {
    Client c = client();
    c.send(request);
    EXPECT_EQ(c.read().status, 400) << request;
    EXPECT_TRUE(c.ends()) << request;
  }
  EXPECT_EQ(client().get("/a").body, "GET /a");
}

TEST_F(HttpServerTest, AHeadHasABound) {
  serve();
  Client c = client();
  c.send("GET / HTTP/1.1\r\nX: " + std::string(3 * kHeadBytesMax, 'a'));
  EXPECT_EQ(c.read().status, 431);
  EXPECT_TRUE(c.ends());
  // As long as it may be, in the header that is parsed most laboriously.
  Client range = client();
  std::string ranges = "bytes=0-1";
  while (ranges.size() < kHeadBytesMax - 100) ranges += ",0-1";
  const Answer whole = range.get("/text", "Range: " + ranges + "\r\n");
  EXPECT_EQ(whole.status, 200) << "parts are not served";
  EXPECT_EQ(whole.body.size(), 5000u);
}

TEST_F(HttpServerTest, ASlowHeadIsCutAfterTwoSeconds) {
  serve();
  const auto begin = Clock::now();
  Client c = client();
  std::thread drip([&] {
    for (const char byte : std::string("GET /slow HTTP/1.1\r\nX-Header: 0123456789")) {
      c.send(std::string(1, byte));
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  });
  EXPECT_EQ(c.read().status, 408);
  const auto took = Clock::now() - begin;
  EXPECT_GE(took, std::chrono::milliseconds(1900));
  EXPECT_LT(took, std::chrono::seconds(10));
  drip.join();
  EXPECT_EQ(answered_, 0);
  EXPECT_EQ(server_->counts().timed_out, 1u);
}

TEST_F(HttpServerTest, SilentClientsMakeRoomForOneThatAsks) {
  serve(4);
  std::vector<Client> silent;
  for (int i = 0; i < 12; i++) silent.push_back(client());
  const auto begin = Clock::now();
  EXPECT_EQ(client().get("/a").body, "GET /a");
  EXPECT_LT(Clock::now() - begin, std::chrono::milliseconds(1500)) << "without waiting for a patience to end";
  EXPECT_GE(server_->counts().refused, 9u);
}

TEST_F(HttpServerTest, TheOneThatHasWaitedLongestGoes) {
  serve(4);
  std::vector<Client> idle;
  for (int i = 0; i < 4; i++) {
    idle.push_back(client());
    EXPECT_EQ(idle.back().get("/a").status, 200);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(100));  // the server's threads have begun to wait
  EXPECT_EQ(idle[0].get("/again").status, 200) << "now the second has waited longest";
  EXPECT_EQ(client().get("/b").status, 200);
  EXPECT_TRUE(idle[1].ends(std::chrono::seconds(10)));
  for (const int i : {0, 2, 3}) EXPECT_EQ(idle[static_cast<size_t>(i)].get("/c").status, 200) << i;
}

TEST_F(HttpServerTest, ReadersThatDoNotReadMakeRoomToo) {
  serve(2);
  std::vector<Client> stuck;
  for (int i = 0; i < 2; i++) {
    stuck.push_back(client());
    stuck.back().shrink_window();
    stuck.back().send("GET /long HTTP/1.1\r\n\r\n");
  }
  // Both answers stand still.
  for (int before = -1; before != pieces_ || answered_ < 2;) {
    before = pieces_;
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
  EXPECT_EQ(client().get("/a").body, "GET /a");
  EXPECT_EQ(server_->counts().refused, 1u);
}

TEST_F(HttpServerTest, ManyClientsAtOnceAreAllAnswered) {
  serve(512);  // room for all of them: those that ended count until their threads are gone
  std::vector<std::future<bool>> clients;
  for (int i = 0; i < 8; i++) {
    clients.push_back(std::async(std::launch::async, [&] {
      for (int k = 0; k < 50; k++) {
        Client c = client();
        if (c.get("/a").body != "GET /a" || c.get("/b").body != "GET /b") return false;
      }
      return true;
    }));
  }
  for (auto& one : clients) EXPECT_TRUE(one.get());
  EXPECT_EQ(answered_, 800);
  EXPECT_EQ(server_->counts().refused, 0u);
}

TEST_F(HttpServerTest, AFailureIsNotToldOutside) {
  serve();
  const Answer answer = client().get("/throw");
  EXPECT_EQ(answer.status, 500);
  EXPECT_EQ(answer.body, "internal error\n");
  EXPECT_EQ(answer.head.find("secret"), std::string::npos);
}

TEST_F(HttpServerTest, AnAnswerThatBreaksOffLooksBroken) {
  serve();
  EXPECT_EQ(client().get("/broken").status, -1) << "the last chunk is missing";
  EXPECT_EQ(client().get("/a").body, "GET /a");
}

TEST_F(HttpServerTest, EndsAtOnceWithClientsOpen) {
  serve();
  Client idle = client(), asked = client(), stuck = client();
  EXPECT_EQ(asked.get("/a").status, 200);
  stuck.shrink_window();
  stuck.send("GET /long HTTP/1.1\r\n\r\n");
  const auto begin = Clock::now();
  server_.reset();
  EXPECT_LT(Clock::now() - begin, std::chrono::seconds(1));
  EXPECT_TRUE(idle.ends());
}

TEST_F(HttpServerTest, AnAddressInUseIsNamed) {
  serve();
  const auto handler = [](const HttpRequest&) { return HttpReply(); };
  const auto second = serve_http(server_->address(), 4, "the test", "test.listen", handler);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error(), "cannot listen on " + server_->address().to_string() +
                                " for the test: Address already in use; end the process that has it, or set "
                                "test.listen to another address");
  const auto foreign = serve_http(*Endpoint::parse("203.0.113.1:80"), 4, "the test", "test.listen", handler);
  ASSERT_FALSE(foreign);
  EXPECT_THAT(foreign.error(), HasSubstr("set test.listen to an address of this host"));
}

TEST_F(HttpServerTest, TheUnspecifiedAddressTakesBothFamilies) {
  auto started = serve_http(*Endpoint::parse("[::]:0"), 4, "the test", "test.listen",
                            [this](const HttpRequest& request) { return answer(request); });
  ASSERT_TRUE(started) << started.error();
  (*started)->begin();
  EXPECT_EQ(Client((*started)->address()).get("/v4").body, "GET /v4");
}

}  // namespace
}  // namespace culvert::admin
