#include "host/http/response_reader.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace epp::http {
namespace {

using Result = ResponseReader::Result;
using Error = ResponseReader::Error;

struct Outcome {
  Result result;
  Error error;
  int status;
  bool keep_alive;
  std::string body;
  std::string type;
  bool operator==(const Outcome&) const = default;
};

// Feeds `wire` in pieces of `step` bytes and, when `closes`, ends the connection.
Outcome Feed(std::string_view wire, size_t step, bool closes, uint64_t max_body = 1000,
             bool no_body = false, bool drop = false) {
  ResponseReader reader;
  reader.Reset(max_body, no_body);
  // Exactly as large as needed, so that a sanitizer sees every byte beyond.
  std::vector<char> buffer;
  size_t size = 0;
  Result result = Result::kNeedMore;
  std::string body;
  while (result == Result::kNeedMore && !wire.empty()) {
    const size_t n = std::min(step, wire.size());
    std::vector<char> next(size + n);
    std::copy(buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(size), next.begin());
    std::copy(wire.begin(), wire.begin() + static_cast<ptrdiff_t>(n),
              next.begin() + static_cast<ptrdiff_t>(size));
    buffer.swap(next);
    size += n;
    wire.remove_prefix(n);
    result = reader.Advance(buffer.data(), &size);
    if (drop && reader.head_complete()) {
      body.append(reader.body(buffer.data()));
      reader.DropBody(buffer.data(), &size);
    }
  }
  if (result == Result::kNeedMore && closes) result = reader.Finish();
  const bool whole = reader.head_complete();
  if (!drop && whole) body = reader.body(buffer.data());
  return {result,
          reader.error(),
          whole ? reader.status() : 0,
          reader.keep_alive(),
          result == Result::kDone ? body : "",
          std::string(whole ? reader.Header(buffer.data(), "Content-Type") : "")};
}

const std::string kHead = "HTTP/1.1 200 OK\r\nContent-Type:  text/plain \r\n";

struct Good {
  const char* name;
  std::string wire;
  std::string body;
  bool keep_alive = true;
  int status = 200;
};

TEST(ResponseReaderTest, GoodResponsesInAnyPieces) {
  const Good cases[] = {
      {"length", kHead + "Content-Length: 5\r\n\r\nhello", "hello"},
      {"length twice the same", kHead + "Content-Length: 2\r\ncontent-length: 2\r\n\r\nok", "ok"},
      {"empty", kHead + "Content-Length: 0\r\n\r\n", ""},
      {"chunked",
       kHead + "Transfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n"
               "0\r\n\r\n",
       "abc0123456789"},
      {"chunked, trailers",
       kHead + "transfer-encoding: chunked\r\n\r\n01\r\na\r\n000\r\nX: y\r\n"
               "Z: w\r\n\r\n",
       "a"},
      {"until close", kHead + "\r\nrest", "rest", false},
      {"asked to close", kHead + "Connection: foo, Close\r\nContent-Length: 1\r\n\r\nx", "x",
       false},
      {"bare line feeds", "HTTP/1.1 200 OK\nContent-Type: text/plain\nContent-Length: 1\n\nx", "x"},
      {"no reason", "HTTP/1.1 200\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\nx", "x"},
      {"old version", "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1\r\n\r\nx",
       "x", false},
      {"old, kept",
       "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nConnection: keep-alive\r\n"
       "Content-Length: 1\r\n\r\nx",
       "x"},
      {"interim",
       "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + kHead +
           "Content-Length: 1\r\n\r\nx",
       "x"},
      {"error page", "HTTP/1.1 503 No\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno",
       "no", true, 503},
  };
  for (const Good& c : cases) {
    for (size_t step : {1, 2, 3, 7, 1000}) {
      for (bool drop : {false, true}) {
        EXPECT_EQ(
            Feed(c.wire, step, true, 1000, false, drop),
            (Outcome{Result::kDone, Error::kNone, c.status, c.keep_alive, c.body, "text/plain"}))
            << c.name << " in pieces of " << step;
      }
    }
  }
}

TEST(ResponseReaderTest, NoBodyWhereNoneCanBe) {
  const std::string wire = kHead + "Content-Length: 5\r\n\r\n";
  EXPECT_EQ(Feed(wire, 1000, false, 10, true).result, Result::kDone);
  EXPECT_EQ(Feed("HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", 9, false).result, Result::kDone);
  EXPECT_EQ(Feed("HTTP/1.1 304 No\r\n\r\n", 9, false).result, Result::kDone);
}

TEST(ResponseReaderTest, BytesBehindAResponseEndTheConnection) {
  for (const std::string& wire : {kHead + "Content-Length: 1\r\n\r\nxHTTP/1.1 200 OK\r\n",
                                  kHead + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nmore",
                                  "HTTP/1.1 204 No\r\n\r\nmore" + kHead}) {
    const Outcome outcome = Feed(wire, 1000, false);
    EXPECT_EQ(outcome.result, Result::kDone);
    EXPECT_FALSE(outcome.keep_alive);
  }
}

TEST(ResponseReaderTest, RefusesWhatIsNotHttp) {
  const std::string chunked = kHead + "Transfer-Encoding: chunked\r\n\r\n";
  const std::pair<const char*, std::string> cases[] = {
      {"garbage", "\x16\x03\x01\x02 hello world\n"},
      {"http2", "PRI * HTTP/2.0\r\n\r\n"},
      {"version", "HTTP/1.2 200 OK\r\n\r\n"},
      {"status", "HTTP/1.1 20x OK\r\n\r\n"},
      {"status range", "HTTP/1.1 999 OK\r\n\r\n"},
      {"status digits", "HTTP/1.1 2000 OK\r\n\r\n"},
      {"empty first line", "\r\nHTTP/1.1 200 OK\r\n\r\n"},
      {"no colon", kHead + "oops\r\n\r\n"},
      {"empty name", kHead + ": x\r\n\r\n"},
      {"space before colon", kHead + "Content-Length : 1\r\n\r\nx"},
      {"folded", kHead + "X: a\r\n b\r\n\r\n"},
      {"nul", kHead + std::string("X: a\0b\r\n\r\n", 10)},
      {"carriage return", kHead + "X: a\rb\r\n\r\n"},
      {"lengths differ", kHead + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"},
      {"length list", kHead + "Content-Length: 1, 1\r\n\r\nx"},
      {"length sign", kHead + "Content-Length: +1\r\n\r\nx"},
      {"length negative", kHead + "Content-Length: -1\r\n\r\nx"},
      {"length huge", kHead + "Content-Length: 99999999999999999999\r\n\r\nx"},
      {"length empty", kHead + "Content-Length:\r\n\r\nx"},
      {"length and chunked", kHead + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx"},
      {"chunked and length", kHead + "Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\nx"},
      {"gzip coding", kHead + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
      {"chunked twice", kHead + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
      {"chunked in 1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
      {"switching", "HTTP/1.1 101 Sw\r\n\r\n"},
      {"interim with length", "HTTP/1.1 100 C\r\nContent-Length: 1\r\n\r\nx"},
      {"chunk not hex", chunked + "xyz\r\n"},
      {"chunk empty size", chunked + "\r\n"},
      {"chunk sign", chunked + "-1\r\n"},
      {"chunk 0x", chunked + "0x1\r\na\r\n"},
      {"chunk size junk", chunked + "1 a\r\nx\r\n"},
      {"chunk size overflow", chunked + "FFFFFFFFFFFFFFFFF\r\n"},
      {"chunk line endless", chunked + "1;" + std::string(300, 'x')},
      {"chunk data too long", chunked + "1\r\nab\r\n0\r\n\r\n"},
      {"chunk data unterminated", chunked + "1\r\nabcdef"},
  };
  for (const auto& [name, wire] : cases) {
    for (size_t step : {1, 5, 1000}) {
      const Outcome outcome = Feed(wire, step, false);
      EXPECT_EQ(outcome.result, Result::kError) << name << " in pieces of " << step;
      EXPECT_EQ(outcome.error, Error::kMalformed) << name;
    }
  }
}

TEST(ResponseReaderTest, Limits) {
  const auto chunk = [](int n) {
    return "A\r\n0123456789\r\n" + std::string(n ? "" : "0\r\n\r\n");
  };
  std::string chunks = kHead + "Transfer-Encoding: chunked\r\n\r\n";
  for (int i = 0; i < 3; ++i) chunks += chunk(1);
  for (size_t step : {1, 1000}) {
    EXPECT_EQ(Feed(chunks, step, false, 29).error, Error::kBodyTooLarge);
    EXPECT_EQ(Feed(chunks + "0\r\n\r\n", step, false, 30).body.size(), 30u);
    EXPECT_EQ(Feed(kHead + "Content-Length: 11\r\n\r\n", step, false, 10).error,
              Error::kBodyTooLarge);
    EXPECT_EQ(Feed(kHead + "\r\n01234567890", step, false, 10).error, Error::kBodyTooLarge);
    EXPECT_EQ(Feed(kHead + "\r\n0123456789", step, true, 10).result, Result::kDone);
    EXPECT_EQ(Feed(kHead + "X: " + std::string(20'000, 'x'), step, false).error,
              Error::kHeadTooLarge);
    EXPECT_EQ(Feed(std::string(20'000, 'H'), step, false).error, Error::kHeadTooLarge);
    EXPECT_EQ(Feed(kHead + "Transfer-Encoding: chunked\r\n\r\n0\r\nX: " + std::string(5'000, 'x'),
                   step, false)
                  .error,
              Error::kHeadTooLarge);
  }
  std::string many = kHead;
  for (int i = 0; i < 5000; ++i) many += "X: y\r\n";
  EXPECT_EQ(Feed(many + "\r\n", 1000, false).error, Error::kHeadTooLarge);
}

TEST(ResponseReaderTest, EarlyEnds) {
  for (const std::string& wire :
       {std::string("HTTP/1"), kHead, kHead + "Content-Length: 5\r\n\r\nhell",
        kHead + "Transfer-Encoding: chunked\r\n\r\n",
        kHead + "Transfer-Encoding: chunked\r\n\r\n5\r\nhe",
        kHead + "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n"}) {
    EXPECT_EQ(Feed(wire, 3, true).error, Error::kEndedEarly) << wire;
  }
}

}  // namespace
}  // namespace epp::http
