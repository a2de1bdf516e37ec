// A hook that tells its build, counts, waits and fails on request: "versioned.so" in as many builds
// as a test needs.
//
//   x-version     set by the build: VERSION
//   x-count       requests that this instance and its predecessors have seen, this one included
//   x-wait: PATH  in a request: makes PATH.running, and returns when PATH is there
#include <fcntl.h>
#include <unistd.h>

#include <atomic>

#include "epp/plugin.hpp"

namespace {

class Versioned {
 public:
  static constexpr const char* kName = "versioned-hook";
  static constexpr const char* kDoc = "Tells its build.";
  static constexpr std::array kParams{
      epp::String("fail", "", "create: creation fails; bind: it needs what nothing produces.")};
  static constexpr uint32_t kStateVersion = 1;

  static epp::Result<Versioned> Create(const epp::Context& ctx) {
    if (ctx.str(0) == "create") return epp::Status::Invalid("will not be created");
    return std::make_unique<Versioned>(ctx);
  }
  explicit Versioned(const epp::Context& ctx)
      : requests_(epp::Metric(ctx.host().raw(), EPP_METRIC_COUNTER, "versioned_requests_total",
                              "Requests that the hook saw.")
                      .With()),
        consumed_(ctx.str(0) == "bind" ? 1 : 0) {}

  std::span<const epp_attr_spec* const> Consumes() const { return {needs_.data(), consumed_}; }
  std::span<const epp_attr_spec* const> Produces() const { return {}; }

  epp::Status PreRequest(const epp::Call& call, const epp::Scheduling&, const epp::Candidates&,
                         epp::Editor& edit) {
    if (const auto path = call.header("x-wait")) {
      close(open((std::string(*path) + ".running").c_str(), O_CREAT | O_WRONLY, 0600));
      while (access(std::string(*path).c_str(), F_OK) != 0) usleep(1000);
    }
    requests_.Add(1);
    edit.SetHeader("x-version", std::to_string(VERSION));
    edit.SetHeader("x-count", std::to_string(++count_));
    return {};
  }

  epp::Status SaveState(std::string& out) const {
    const uint64_t count = count_;
    if (count != 0) out.assign(reinterpret_cast<const char*>(&count), sizeof(count));
    return {};
  }
  epp::Status LoadState(uint32_t version, std::string_view bytes) {
    uint64_t count = 0;
    if (VERSION == 3 || version != kStateVersion || bytes.size() != sizeof(count)) {
      return epp::Status::Invalid("build 3 reads no state");
    }
    std::memcpy(&count, bytes.data(), sizeof(count));
    count_ = count;
    return {};
  }

 private:
  const epp::Series requests_;
  const size_t consumed_;
  const epp::Attribute need_ = epp::Needs({"Nothing", EPP_T_I64, EPP_SCOPE_ENDPOINT, "nobody"});
  const std::array<const epp_attr_spec*, 1> needs_{&need_.spec};
  std::atomic<uint64_t> count_{0};
};

}  // namespace

EPP_LIBRARY("versioned", "0.1.0", Versioned)
