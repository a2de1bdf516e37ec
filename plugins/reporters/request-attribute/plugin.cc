// request-attribute-reporter: a number computed from the token counts of a response, as dynamic
// metadata for the proxy.
#include "epp/plugin.hpp"

#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>

#include "expression.h"
#include "plugins/common/json.hpp"

namespace {

using epp::request_attribute::Expression;

constexpr double kMaxNumber = 0x1p53;  // beyond it the proxy's doubles have no whole numbers

// The one entry of "attributes".
struct Entry {
  std::string name_space = "envoy.lb";
  std::string name;
  std::string expression;
  std::string condition;
};

epp::Status Read(std::string_view json, Entry& out) {
  epp::common::JsonReader in(json);
  int entries = 0;
  in.Array([&] {
    ++entries;
    return in.Object([&](const std::string& key) {
      if (key == "expression") return in.String(&out.expression);
      if (key == "condition") return in.String(&out.condition);
      if (key != "key") return in.Fail("unknown member \"" + key + "\"");
      return in.Object([&](const std::string& part) {
        if (part == "name") return in.String(&out.name);
        if (part == "namespace") return in.String(&out.name_space);
        return in.Fail("unknown member \"key." + part + "\"");
      });
    });
  });
  if (!in.Done()) return epp::Status::Invalid("attributes: " + in.error());
  if (entries != 1) {
    return epp::Status::Invalid("attributes: got " + std::to_string(entries) +
                                " entries, want exactly 1");
  }
  if (out.name.empty()) return epp::Status::Invalid("attributes: key.name is missing");
  if (out.name_space.empty()) out.name_space = "envoy.lb";
  return {};
}

class RequestAttributeReporter {
 public:
  static constexpr const char* kName = "request-attribute-reporter";
  static constexpr const char* kDoc =
      "Reports a number computed from the token counts of a response to the proxy, as dynamic "
      "metadata.";
  static constexpr std::array kParams{
      epp::Json("attributes",
                "A list of one {key: {namespace, name}, expression, condition}; the expressions "
                "are over usage.prompt_tokens and its like.")
          .Required()};
  static constexpr uint32_t kWants = EPP_WANT_END | EPP_WANT_USAGE;

  static epp::Result<RequestAttributeReporter> Create(const epp::Context& ctx) {
    RequestAttributeReporter made;
    Entry entry;
    epp::Status status = Read(ctx.str(0), entry);
    if (!status.ok()) return status;
    status = Expression::Parse(entry.expression, Expression::Type::kNumber, made.expression_);
    if (!status.ok()) return Invalid("expression", status);
    made.conditional_ = !entry.condition.empty();
    if (made.conditional_) {
      status = Expression::Parse(entry.condition, Expression::Type::kBool, made.condition_);
      if (!status.ok()) return Invalid("condition", status);
    }
    made.name_space_ = std::move(entry.name_space);
    made.name_ = std::move(entry.name);
    return made;
  }

  epp::Status OnBody(const epp::Call&, const epp_response_event& event,
                     const epp::Editor& edit) const {
    if (!(event.flags & EPP_CHUNK_LAST) || event.usage == nullptr) return {};
    if (conditional_ && condition_.Evaluate(*event.usage).value_or(0) == 0) return {};
    const std::optional<double> value = expression_.Evaluate(*event.usage);
    if (!value || std::abs(*value) > kMaxNumber) return {};
    const double whole = std::trunc(*value);
    // The proxy's own words for "nothing".
    if (whole == 0 || whole == -1) return {};
    edit.SetMetadata(name_space_, name_, whole);
    return {};
  }

 private:
  static epp::Status Invalid(std::string_view what, const epp::Status& status) {
    return epp::Status::Invalid("attributes: " + std::string(what) + ": " +
                                std::string(status.message()));
  }

  std::string name_space_;
  std::string name_;
  Expression expression_;
  bool conditional_ = false;
  Expression condition_;
};

}  // namespace

EPP_LIBRARY("request-attribute-reporter", "0.1.0", RequestAttributeReporter)
