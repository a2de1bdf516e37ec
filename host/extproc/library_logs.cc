#include "host/extproc/library_logs.h"

#include <google/protobuf/stubs/logging.h>
#include <grpc/support/log.h>

#include <atomic>
#include <string>

namespace epp::extproc {
namespace {

using Sink = void (*)(LibraryLogLevel, std::string_view);
std::atomic<Sink> g_sink{nullptr};

void Send(LibraryLogLevel level, std::string_view text) {
  if (const Sink sink = g_sink.load(std::memory_order_acquire)) sink(level, text);
}

void FromGrpc(gpr_log_func_args* arguments) {
  switch (arguments->severity) {
    case GPR_LOG_SEVERITY_DEBUG:
      return Send(LibraryLogLevel::kDebug, arguments->message);
    case GPR_LOG_SEVERITY_INFO:
      return Send(LibraryLogLevel::kInfo, arguments->message);
    case GPR_LOG_SEVERITY_ERROR:
      return Send(LibraryLogLevel::kError, arguments->message);
  }
}

void FromProtobuf(google::protobuf::LogLevel level, const char*, int, const std::string& message) {
  Send(level >= google::protobuf::LOGLEVEL_WARNING ? LibraryLogLevel::kError
                                                   : LibraryLogLevel::kInfo,
       message);
}

}  // namespace

void RouteLibraryLogs(void (*sink)(LibraryLogLevel level, std::string_view text)) {
  g_sink.store(sink, std::memory_order_release);
  gpr_set_log_function(FromGrpc);
  google::protobuf::SetLogHandler(FromProtobuf);
}

}  // namespace epp::extproc
