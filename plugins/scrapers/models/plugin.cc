// models-data-source and models-data-extractor: which models every endpoint says it serves.
#include "epp/plugin.hpp"

#include <simdjson.h>

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "../http_source.hpp"

namespace {

namespace source = epp::http_source;

constexpr const char* kPayloadName = "openai-models";
constexpr size_t kMaxModels = 4096;
constexpr size_t kMaxIdBytes = 1024;

// Model ids that the endpoint lists, adapters included.
constexpr epp::AttributeKind kModels{"/v1/models", EPP_T_SYMBOL_LIST, EPP_SCOPE_ENDPOINT,
                                     "models-data-extractor"};

class ModelsDataSource {
 public:
  static constexpr const char* kName = "models-data-source";
  static constexpr const char* kDoc = "Fetches the list of models of every endpoint.";
  static constexpr std::array kParams{
      source::Scheme(),   source::Path("/v1/models"),
      source::Insecure(), source::Ca(),
      source::Cert(),     source::Key(),
      source::Interval(),
  };

  static epp::Result<ModelsDataSource> Create(const epp::Context& ctx) {
    auto made = std::make_unique<ModelsDataSource>();
    epp::Status status = source::Settings::Read(ctx, kPayloadName, made->settings_);
    if (!status.ok()) return status;
    return epp::Result<ModelsDataSource>(std::move(made));
  }

  epp::Status Plan(epp_fetch_plan& plan) const {
    settings_.Fill(plan);
    return {};
  }

 private:
  source::Settings settings_;
};

class ModelsDataExtractor {
 public:
  static constexpr const char* kName = "models-data-extractor";
  static constexpr const char* kDoc = "Reads the ids out of a list of models.";
  static constexpr const char* kPayload = kPayloadName;
  static constexpr std::array kProduces{epp::Makes(kModels).TypeNamed()};

  static epp::Result<ModelsDataExtractor> Create(const epp::Context& ctx) {
    return ModelsDataExtractor(ctx.host());
  }

  // Entries without a usable id are left out. The whole list replaces the former one.
  epp::Status Scrape(const epp_scrape& in, epp::Sink& out) const {
    // Pages are rare and small; a parser per call keeps this free of shared state.
    simdjson::dom::parser parser;
    const std::string_view body = epp::View(in.body);
    simdjson::dom::array list;
    // The host guarantees the padding that the parser wants.
    static_assert(simdjson::SIMDJSON_PADDING <= 64);
    if (parser.parse(body.data(), body.size(), false)["data"].get(list) != simdjson::SUCCESS) {
      return epp::Status::Invalid(
          "not a list of models: want a JSON object with the array \"data\"");
    }
    std::vector<uint32_t> symbols;
    for (const simdjson::dom::element entry : list) {
      std::string_view id;
      if (entry["id"].get(id) != simdjson::SUCCESS || id.empty() || id.size() > kMaxIdBytes)
        continue;
      const uint32_t symbol = host_.Intern(id);
      if (symbol != 0) symbols.push_back(symbol);
      if (symbols.size() == kMaxModels) break;
    }
    out.Set(0, std::span<const uint32_t>(symbols));
    return {};
  }

 private:
  explicit ModelsDataExtractor(epp::Host host) : host_(host) {}
  epp::Host host_;
};

}  // namespace

EPP_LIBRARY("models-data", "0.1.0", ModelsDataSource, ModelsDataExtractor)
