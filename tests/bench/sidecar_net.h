// What the modes of sidecar_load share: options, sockets, and HTTP framing as far as a benchmark of
// well-formed messages needs it. Errors end the program.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace epp::bench {

// "--name value" pairs.
class Flags {
 public:
  Flags(int argc, char** argv, int first);
  int64_t Int(const std::string& name, int64_t other) const;
  std::string Text(const std::string& name) const;

 private:
  std::map<std::string, std::string> values_;
};

[[noreturn]] void Die(const std::string& why);

// Times in events: nanoseconds of CLOCK_MONOTONIC with this added, so that they have 19 digits.
inline constexpr uint64_t kTimeBase = 1'000'000'000'000'000'000;

uint64_t NowNs();  // CLOCK_MONOTONIC: the same in all processes of a machine

// Listens on 127.0.0.1, on any port when it is 0. The socket does not block.
int Listen(uint16_t port, uint16_t* bound);
int Connect(uint16_t port);  // to 127.0.0.1; blocks until connected
void SetNonBlocking(int fd);

// What follows "name=" in a query, `other` when it is not there.
int64_t QueryInt(std::string_view head, std::string_view name, int64_t other);
// The Content-Length of a head, 0 when it has none.
size_t ContentLength(std::string_view head);

int RunUpstream(const Flags& flags);
int RunRelay(const Flags& flags);
int RunDrive(const Flags& flags);

}  // namespace epp::bench
