// epp version: what this executable is made of.
#include "host/cli/version.h"

#include <array>
#include <boost/version.hpp>
#include <charconv>
#include <ostream>

#include "CLI/CLI.hpp"
#include "epp/abi.h"
#include "host/base/json_writer.h"
#include "host/base/str_cat.h"
#include "host/cli/command.h"

namespace epp::cli {
namespace {

std::array<int, 3> Numbers(std::string_view text) {
  std::array<int, 3> numbers{};
  const char* at = text.data();
  const char* const end = at + text.size();
  for (int& number : numbers) {
    const auto [next, error] = std::from_chars(at, end, number);
    if (error != std::errc()) return {};
    at = next;
    if (at != end && *at == '.') ++at;
  }
  return numbers;
}

class VersionCommand final : public Command {
 public:
  VersionCommand() : Command("version", "What this executable is made of", "") { AddJsonFlag(); }

 private:
  int Run(Io& io) override {
    const std::string abi = StrCat(EPP_ABI_MAJOR, ".", EPP_ABI_MINOR);
    const std::string boost = StrCat(BOOST_VERSION / 100000, ".", BOOST_VERSION / 100 % 1000);
    if (!json()) {
      io.out << "epp " << Version() << "  ABI " << abi << "\n";
      io.out << "compiler  " << __VERSION__ << ", " << EPP_BUILD_TYPE << "\n";
      io.out << "libraries gRPC " << EPP_GRPC_VERSION << " (static), Boost " << boost << "\n";
      return kDone;
    }
    std::string out;
    JsonWriter w(&out);
    w.BeginObject();
    w.Field("schema", "epp.version/1").Field("version", Version()).Field("abi", abi);
    w.Field("compiler", __VERSION__).Field("build_type", EPP_BUILD_TYPE);
    w.Key("libraries").BeginObject();
    w.Field("grpc", EPP_GRPC_VERSION).Field("boost", boost);
    w.EndObject();
    w.Field("link", "static gRPC, Protobuf and Abseil");
    w.EndObject();
    io.out << out << "\n";
    return kDone;
  }
};

}  // namespace

std::string_view Version() { return EPP_VERSION; }

bool IsNewer(std::string_view a, std::string_view b) { return Numbers(a) > Numbers(b); }

std::unique_ptr<Command> MakeVersion() { return std::make_unique<VersionCommand>(); }

}  // namespace epp::cli
