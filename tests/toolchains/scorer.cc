// The scorer of the toolchain matrix in C++; scorer.c and rust/src/lib.rs compute the same.
//
// NAME is the library's and its type's. The parameter "fail" says where it throws: "create",
// "score", "destroy", or, with "-int" behind it, what is no std::exception.
#include <cmath>
#include <stdexcept>

#include "epp/plugin.hpp"

#ifndef NAME
#error "NAME is not defined"
#endif

namespace {

class Matrix {
 public:
  static constexpr const char* kName = NAME;
  static constexpr const char* kDoc = "Scores what no toolchain may compute differently.";
  static constexpr std::array kParams{epp::Float("scale", 3, 0.5, 100, "divides"),
                                      epp::String("fail", "", "where it throws")};
  static constexpr std::array kConsumes{epp::Needs(epp::attr::kWaitingQueueSize),
                                        epp::Needs(epp::attr::kKvCacheUsage)};

  static epp::Result<Matrix> Create(const epp::Context& ctx) {
    auto made = std::make_unique<Matrix>(ctx.f64(0), std::string(ctx.str(1)));
    made->Fail("create");
    return made;
  }
  Matrix(double scale, std::string fail) : scale_(scale), fail_(std::move(fail)) {}
  Matrix(const Matrix&) = delete;
  ~Matrix() noexcept(false) {
    if (armed_) Fail("destroy");
  }

  epp::Status Score(const epp::Call&, const epp::Candidates& in, std::span<double> out) {
    armed_ = true;  // destroyed as an instance, not as a part of a failed create
    Fail("score");
    const auto waiting = in.column<int64_t>(0);
    const auto usage = in.column<double>(1);
    for (size_t i = 0; i < in.size(); ++i) {
      const double queue = waiting[i] > 0 ? static_cast<double>(waiting[i]) : 0;
      out[i] = std::sqrt(1 - usage[i]) / (1 + queue / scale_);
    }
    return {};
  }

 private:
  void Fail(const char* where) const {
    if (fail_ == where) throw std::runtime_error(std::string("thrown by ") + where);
    if (fail_ == std::string(where) + "-int") throw 42;
  }
  double scale_;
  std::string fail_;
  bool armed_ = false;
};

}  // namespace

EPP_LIBRARY(NAME, "1.0.0", Matrix)
