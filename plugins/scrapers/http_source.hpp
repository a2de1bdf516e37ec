// The parameters that all sources fetched over HTTP share, and the plan that follows from them.
#pragma once

#include <memory>
#include <string>

#include "epp/plugin.hpp"

namespace epp::http_source {

// Order of the parameters below.
enum : size_t { kScheme, kPath, kInsecure, kCa, kCert, kKey, kInterval, kShared };

inline constexpr const char* kSchemes[] = {"http", "https"};

inline constexpr Param Scheme(const char* def = "http") {
  return String("scheme", def, "how the endpoints are asked").OneOf(kSchemes);
}
inline constexpr Param Path(const char* def) {
  return String("path", def, "what is asked for, with a leading slash");
}
inline constexpr Param Insecure(bool def = true) {
  return Bool("insecureSkipVerify", def, "https: do not verify the server's certificate");
}
inline constexpr Param Ca() {
  return String("caCertPath", nullptr, "https: PEM file of the accepted authorities");
}
inline constexpr Param Cert() {
  return String("clientCertPath", nullptr, "https: PEM file of the client certificate");
}
inline constexpr Param Key() {
  return String("clientKeyPath", nullptr, "https: PEM file of its key");
}
inline constexpr Param Interval() {
  return Duration("interval", 0, 0, 86400, "time between two fetches").Unset();
}

// Owns the texts of a plan.
class Settings {
 public:
  // Errors: InvalidArgument for a path without slash, or half of a client certificate.
  static Status Read(const Context& ctx, const char* payload, Settings& out) {
    out.path_ = ctx.str(kPath);
    out.ca_ = ctx.str(kCa);
    out.cert_ = ctx.str(kCert);
    out.key_ = ctx.str(kKey);
    out.payload_ = payload;
    out.tls_ = ctx.str(kScheme) == "https";
    out.insecure_ = ctx.flag(kInsecure);
    out.interval_ns_ = ctx.has(kInterval) ? static_cast<uint64_t>(ctx.ns(kInterval)) : 0;
    if (out.path_.empty() || out.path_[0] != '/' ||
        out.path_.find_first_of(" \r\n\t") != std::string::npos) {
      return Status::Invalid("path is \"" + out.path_ + "\", want a path such as /metrics");
    }
    if (out.cert_.empty() != out.key_.empty()) {
      return Status::Invalid("clientCertPath and clientKeyPath are needed together");
    }
    if (out.tls_ && out.insecure_ && !out.ca_.empty()) {
      ctx.host().Log(EPP_LOG_WARN, "caCertPath has no effect while insecureSkipVerify is true");
    }
    return {};
  }

  void Fill(epp_fetch_plan& plan) const {
    plan.flags = (tls_ ? EPP_SOURCE_TLS : 0) | (tls_ && insecure_ ? EPP_SOURCE_TLS_INSECURE : 0);
    plan.path = Str(path_);
    plan.interval_ns = interval_ns_;
    plan.payload = Str(payload_);
    plan.ca_file = Str(ca_);
    plan.cert_file = Str(cert_);
    plan.key_file = Str(key_);
  }

 private:
  std::string path_, ca_, cert_, key_, payload_;
  bool tls_ = false;
  bool insecure_ = true;
  uint64_t interval_ns_ = 0;
};

}  // namespace epp::http_source
