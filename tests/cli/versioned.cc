// A hook that tells its build, counts, waits and fails on request: "versioned.so" in as many builds
// as a test needs.
//
//   x-version     set by the build: VERSION
//   x-count       requests that this instance and its predecessors have seen, this one included
//   x-value       what "versioned-value" of the same build gave, read after the wait
//   x-wait: PATH  in a request: makes PATH.running, and returns when PATH is there
#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <string>

#include "epp/plugin.hpp"

#define STRING_OF(x) #x
#define STRING(x) STRING_OF(x)

namespace {

// Gives away a pointer into the memory of the instance.
class VersionedValue {
 public:
  static constexpr const char* kName = "versioned-value";
  static constexpr const char* kDoc = "An opaque value that lives as long as its instance.";
  static constexpr std::array kProduces{epp::Makes(
      {"VersionedValue", EPP_T_OPAQUE, EPP_SCOPE_REQUEST, nullptr, "versioned-value/1"})};

  static epp::Result<VersionedValue> Create(const epp::Context&) {
    return std::make_unique<VersionedValue>();
  }
  epp::Status Produce(const epp::Call&, const epp::Candidates&, const epp::Outputs& out) const {
    out.Set<const void*>(0, &value_);
    return {};
  }

 private:
  const std::string value_ = "a value that no small string holds, of build " STRING(VERSION);
};

class Versioned {
 public:
  static constexpr const char* kName = "versioned-hook";
  static constexpr const char* kDoc = "Tells its build.";
  static constexpr std::array kParams{
      epp::String("fail", "",
                  "create: creation fails; bind: it needs what nothing produces; value: it needs "
                  "versioned-value.")};
  static constexpr uint32_t kStateVersion = 1;

  static epp::Result<Versioned> Create(const epp::Context& ctx) {
    if (ctx.str(0) == "create") return epp::Status::Invalid("will not be created");
    return std::make_unique<Versioned>(ctx);
  }
  explicit Versioned(const epp::Context& ctx)
      : requests_(epp::Metric(ctx.host().raw(), EPP_METRIC_COUNTER, "versioned_requests_total",
                              "Requests that the hook saw.")
                      .With()),
        needs_(ctx.str(0) == "bind"    ? &nothing_.spec
               : ctx.str(0) == "value" ? &value_.spec
                                       : nullptr) {}

  std::span<const epp_attr_spec* const> Consumes() const {
    return {&needs_, needs_ == nullptr ? 0u : 1u};
  }
  std::span<const epp_attr_spec* const> Produces() const { return {}; }

  epp::Status PreRequest(const epp::Call& call, const epp::Scheduling&, const epp::Candidates&,
                         epp::Editor& edit) {
    if (const auto path = call.header("x-wait")) {
      close(open((std::string(*path) + ".running").c_str(), O_CREAT | O_WRONLY, 0600));
      while (access(std::string(*path).c_str(), F_OK) != 0) usleep(1000);
    }
    if (needs_ == &value_.spec) {
      const auto value = call.column<const void*>(0);
      edit.SetHeader("x-value", *static_cast<const std::string*>(value[0]));
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
  const epp::Attribute nothing_ = epp::Needs({"Nothing", EPP_T_I64, EPP_SCOPE_ENDPOINT, "nobody"});
  const epp::Attribute value_ = epp::Needs(
      {"VersionedValue", EPP_T_OPAQUE, EPP_SCOPE_REQUEST, "versioned-value", "versioned-value/1"});
  const epp_attr_spec* const needs_;
  std::atomic<uint64_t> count_{0};
};

}  // namespace

EPP_LIBRARY("versioned", "0.1.0", Versioned, VersionedValue)
