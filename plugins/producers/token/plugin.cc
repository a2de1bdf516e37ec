// token-producer: the token ids of a request's prompts, from the render endpoints of a vLLM server,
// from a tokenizer.json in this process, or estimated: four bytes of prompt make one pseudo-token,
// which is all that cache affinity needs to recognise equal prefixes. Prompts that arrive as token
// ids pass through.
#define XXH_INLINE_ALL
#include "epp/plugin.hpp"

#include <xxhash.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "plugins/common/json_canonical.hpp"
#include "plugins/common/json_text.hpp"
#include "plugins/producers/token/local.h"
#include "plugins/producers/token/media.h"
#include "plugins/producers/token/remote.h"
#include "plugins/producers/token/stream.h"

namespace {

using epp::json::Cursor;
using epp::json::RawString;
using token_producer::TokenStream;

// Indices into kParams.
enum Param : size_t {
  kModelName,
  kVllmUrl,
  kVllmTimeout,
  kVllmMediaTimeout,
  kUdsSocket,
  kUdsTcp,
  kUdsMap,
  kLocalTokenizers,
  kLocalThreads,
  kLocalTimeout,
  kImageMode,
  kImageWidth,
  kImageHeight,
  kImageFactor,
  kImageTokens,
  kFrameMode,
  kFrameFactor,
  kFrameTokens,
  kFramesMode,
  kMinFrames,
  kMaxFrames,
  kSampleFps,
  kTemporalPatch,
  kSourceFps,
  kStride,
  kVideoWidth,
  kVideoHeight,
  kVideoSeconds,
  kMaxVideoTokens,
};

constexpr const char* kDynamicOrStatic[] = {"dynamic", "static"};
constexpr const char* kSampledOrStrided[] = {"sampled", "strided"};
constexpr double kMaxInt = 1e9;
// Why a prompt was not encoded.
constexpr std::array<std::string_view, 11> kReasons{"api",   "body",     "busy",  "content",
                                                    "media", "messages", "model", "reasoning",
                                                    "role",  "template", "tools"};

// What one worker needs while it builds a prompt; kept from call to call, up to a bound.
struct Scratch {
  static constexpr size_t kKeepBytes = 1 << 20;
  epp::json::Canonical canonical;
  std::string text;
};

// A media piece before it is written.
struct Asset {
  uint64_t hash = 0;
  int64_t tokens = 0;
};

// XXH64 as lower-case hexadecimal digits without leading zeros.
epp_str HashText(const epp::Call& call, uint64_t hash) {
  char* const data = call.Alloc<char>(16);
  if (data == nullptr) return {nullptr, 0};
  const auto end = std::to_chars(data, data + 16, hash, 16).ptr;
  return {data, static_cast<uint64_t>(end - data)};
}

epp_str Copied(const epp::Call& call, std::string_view text) {
  if (text.empty()) return {nullptr, 0};
  char* const data = call.Alloc<char>(text.size());
  if (data == nullptr) return {nullptr, 0};
  std::memcpy(data, text.data(), text.size());
  return {data, text.size()};
}

int32_t Modality(int32_t kind) {
  return kind == EPP_SEGMENT_IMAGE   ? EPP_MODALITY_IMAGE
         : kind == EPP_SEGMENT_AUDIO ? EPP_MODALITY_AUDIO
         : kind == EPP_SEGMENT_VIDEO ? EPP_MODALITY_VIDEO
                                     : 0;
}

epp::Status TooLarge(uint64_t bytes) {
  return {EPP_RESOURCE_EXHAUSTED, "the tokens of this prompt need " + std::to_string(bytes) +
                                      " bytes, more than there are"};
}

class TokenProducer {
 public:
  static constexpr const char* kName = "token-producer";
  static constexpr const char* kDoc =
      "Turns prompts into token ids: a vLLM server's, a tokenizer.json's, or estimated ones.";
  static constexpr std::array kAliases{"tokenizer"};
  static constexpr std::array kProduces{epp::Makes(epp::attr::kTokenizedPrompt)};
  static constexpr std::array kParams{
      epp::String("modelName", nullptr, "Model that the server is asked for; chooses vLLM."),
      epp::String("vllm.url", nullptr, "vLLM server with render endpoints; http://localhost:8000."),
      epp::Duration("vllm.timeout", 0, 0, 3600, "Of a request to it; 0 and unset: 5s.").Unset(),
      epp::Duration("vllm.mmTimeout", 0, 0, 3600,
                    "Of a chat with lists as content; 0 and unset: 30s.")
          .Unset(),
      epp::String("udsTokenizerConfig.socketFile", nullptr, "Not in this build.").Deprecated(),
      epp::Bool("udsTokenizerConfig.useTCP", false, "Not in this build.").Unset().Deprecated(),
      epp::Json("udsTokenizerConfig.modelTokenizerMap", "Not in this build.").Deprecated(),
      epp::Json(
          "local.tokenizers",
          "List of {path, model, chatTemplate}: tokenizer.json files, and the models they are "
          "for."),
      epp::Int("local.threads", 0, 0, 64, "Threads that encode long prompts; 0 and unset: 2.")
          .Unset(),
      epp::Duration("local.timeout", 0, 0, 3600, "Of encoding a long prompt; 0 and unset: 1s.")
          .Unset(),
      epp::String("estimate.image.mode", "dynamic",
                  "Tokens of an image: by size, or constant; dynamic.")
          .OneOf(kDynamicOrStatic)
          .Unset(),
      epp::Int("estimate.image.defaultResolution.width", 640, 0, 65535,
               "Pixels; for images whose size cannot be read; 640.")
          .Unset(),
      epp::Int("estimate.image.defaultResolution.height", 360, 0, 65535,
               "Pixels; for images whose size cannot be read; 360.")
          .Unset(),
      epp::Int("estimate.image.dynamic.factor", 1024, 0, kMaxInt, "Pixels that make a token; 1024.")
          .Unset(),
      epp::Int("estimate.image.static.staticToken", 0, 0, kMaxInt, "Tokens of an image.").Unset(),
      epp::String("estimate.video.tokensPerFrame.mode", "dynamic",
                  "Tokens of a frame: by size, or constant; dynamic.")
          .OneOf(kDynamicOrStatic)
          .Unset(),
      epp::Int("estimate.video.tokensPerFrame.dynamic.factor", 1024, 0, kMaxInt,
               "Pixels that make a token; 1024.")
          .Unset(),
      epp::Int("estimate.video.tokensPerFrame.static.numTokensPerFrame", 0, 0, kMaxInt,
               "Tokens of a frame.")
          .Unset(),
      epp::String("estimate.video.frames.mode", "sampled",
                  "Frames that count: at a rate, or every nth of the source; sampled.")
          .OneOf(kSampledOrStrided)
          .Unset(),
      epp::Int("estimate.video.frames.minFrames", 0, 0, kMaxInt, "Fewest frames of a video.")
          .Unset(),
      epp::Int("estimate.video.frames.maxFrames", 0, 0, kMaxInt, "Most frames; 0 is no limit.")
          .Unset(),
      epp::Float("estimate.video.frames.sampled.sampleFPS", 2, 0, 1e6, "Frames a second; 2.")
          .Unset(),
      epp::Int("estimate.video.frames.sampled.temporalPatchSize", 0, 0, kMaxInt,
               "Frames that share their tokens; below 2 none do.")
          .Unset(),
      epp::Float("estimate.video.frames.strided.defaultSourceFPS", 24, 0, 1e6,
                 "Frames a second of the source, unless a header says it; 24.")
          .Unset(),
      epp::Int("estimate.video.frames.strided.frameStride", 1, 0, kMaxInt,
               "One frame of the source in so many counts; 1.")
          .Unset(),
      epp::Int("estimate.video.defaultResolution.width", 640, 0, 65535,
               "Pixels, unless a header says it; 640.")
          .Unset(),
      epp::Int("estimate.video.defaultResolution.height", 360, 0, 65535,
               "Pixels, unless a header says it; 360.")
          .Unset(),
      epp::Float("estimate.video.defaultDuration", 10, 0, 1e9,
                 "Seconds, unless a header says it; 10.")
          .Unset(),
      epp::Int("estimate.video.maxVideoTokens", 0, 0, kMaxInt,
               "Most tokens of a video; 0 is no limit.")
          .Unset(),
  };

  static epp::Result<TokenProducer> Create(const epp::Context& ctx) {
    for (size_t i = kUdsSocket; i <= kUdsMap; ++i) {
      if (!ctx.has(i)) continue;
      return epp::Status(EPP_UNIMPLEMENTED,
                         "parameter \"" + std::string(kParams[i].spec.name) +
                             "\" asks for a tokenizer behind a socket, which this build does not "
                             "know; set \"vllm\", or remove it to estimate");
    }
    // 0 means the default, as for an absent key.
    const auto number = [&](size_t i) {
      return ctx.i64(i) > 0 ? ctx.i64(i) : kParams[i].spec.default_value.v.i64;
    };
    const auto real = [&](size_t i) {
      return ctx.f64(i) > 0 ? ctx.f64(i) : kParams[i].spec.default_value.v.f64;
    };
    TokenProducer p(ctx.host().workers());
    if (epp::Status status = OneBackEnd(ctx); !status.ok()) return status;
    if (epp::Status status = p.Connect(ctx); !status.ok()) return status;
    if (epp::Status status = p.LoadTokenizers(ctx); !status.ok()) return status;
    p.image_ = {ctx.str(kImageMode) == "static",
                {number(kImageWidth), number(kImageHeight)},
                number(kImageFactor),
                number(kImageTokens)};
    p.video_.static_frames = ctx.str(kFrameMode) == "static";
    p.video_.factor = number(kFrameFactor);
    p.video_.tokens_per_frame = number(kFrameTokens);
    p.video_.strided = ctx.str(kFramesMode) == "strided";
    p.video_.min_frames = number(kMinFrames);
    p.video_.max_frames = number(kMaxFrames);
    p.video_.sample_fps = real(kSampleFps);
    p.video_.temporal_patch = number(kTemporalPatch);
    p.video_.source_fps = real(kSourceFps);
    p.video_.stride = number(kStride);
    p.video_.resolution = {number(kVideoWidth), number(kVideoHeight)};
    p.video_.seconds = real(kVideoSeconds);
    p.video_.max_tokens = number(kMaxVideoTokens);
    return p;
  }

  // What is waited for: one of the two.
  struct Operation {
    std::shared_ptr<token_producer::Rendering> rendering;
    std::shared_ptr<token_producer::Encoding> encoding;
  };
  uint64_t ProduceTimeoutNs() const { return remote_ ? remote_->timeout_ns() : local_timeout_ns_; }

  epp::Status StartProduce(const epp::Call& call, const epp::Candidates&, const epp::Outputs& out,
                           epp::Completion done, std::shared_ptr<Operation>& operation) const {
    const epp_parsed* const parsed = call.request().parsed;
    const bool prompts =
        parsed != nullptr && parsed->api != EPP_API_NONE && parsed->api != EPP_API_IMAGES;
    const bool ids =
        prompts &&
        (parsed->api == EPP_API_GENERATE ||
         (parsed->segment_count > 0 && parsed->segments[0].kind == EPP_SEGMENT_TOKEN_IDS));
    if ((remote_ == nullptr && local_ == nullptr) || !prompts || ids) return Produce(call, out);
    if (local_ != nullptr) return Encode(call, out, done, operation);
    auto made = std::make_shared<Operation>();
    epp::Status status = remote_->Start(call.request(), done, made->rendering);
    if (status.ok()) operation = std::move(made);
    return status;
  }

  epp::Status FinishProduce(Operation& operation, const epp::Call& call, const epp::Candidates&,
                            const epp::Outputs& out) const {
    if (operation.encoding != nullptr) return Write(*operation.encoding, call, out);
    auto* const prompt = call.Alloc<epp_tokenized_prompt>();
    if (prompt == nullptr) return TooLarge(sizeof(*prompt));
    prompt->struct_size = sizeof(*prompt);
    prompt->cache_salt = Copied(call, epp::View(call.request().parsed->cache_salt));
    std::string_view features;
    epp::Status status =
        token_producer::Remote::Read(*operation.rendering, call, *prompt, features);
    if (status.ok() && !features.empty()) {
      status = Features(call, features, *prompt);
      DropOutside(*prompt);
    }
    if (!status.ok()) return status;
    Put(prompt, out);
    return {};
  }

  void CancelProduce(Operation& operation) const {
    if (operation.encoding) operation.encoding->cancelled.store(true, std::memory_order_relaxed);
  }

 private:
  // Short prompts at once, long ones on another thread, and by estimate what cannot be encoded.
  epp::Status Encode(const epp::Call& call, const epp::Outputs& out, epp::Completion done,
                     std::shared_ptr<Operation>& operation) const {
    auto encoding = std::make_shared<token_producer::Encoding>();
    token_producer::Unrendered why = local_->Prepare(call.request(), *encoding);
    if (why == nullptr && encoding->text.size() <= token_producer::Local::kInlineBytes) {
      local_->Encode(call.worker(), *encoding);
      return Write(*encoding, call, out);
    }
    if (why == nullptr) {
      if (local_->Enqueue(encoding, done)) {
        operation = std::make_shared<Operation>(Operation{nullptr, std::move(encoding)});
        return {};
      }
      why = "busy";
    }
    for (size_t i = 0; i < kReasons.size(); ++i) {
      if (kReasons[i] == why) estimates_[i].Add(1);
    }
    return Produce(call, out);
  }

  static epp::Status Write(const token_producer::Encoding& encoding, const epp::Call& call,
                           const epp::Outputs& out) {
    auto* const prompt = call.Alloc<epp_tokenized_prompt>();
    if (prompt == nullptr) return TooLarge(sizeof(*prompt));
    prompt->struct_size = sizeof(*prompt);
    prompt->cache_salt = Copied(call, epp::View(call.request().parsed->cache_salt));
    epp::Status status = token_producer::Local::Write(encoding, call, *prompt);
    if (status.ok()) Put(prompt, out);
    return status;
  }

  // At most one of the three ways to get tokens.
  static epp::Status OneBackEnd(const epp::Context& ctx) {
    struct BackEnd {
      const char* name;
      size_t first, last;
    };
    constexpr BackEnd kBackEnds[] = {{"vLLM", kModelName, kVllmMediaTimeout},
                                     {"a local tokenizer", kLocalTokenizers, kLocalTimeout},
                                     {"an estimate", kImageMode, kMaxVideoTokens}};
    const BackEnd* asked = nullptr;
    size_t by = 0;
    for (const BackEnd& b : kBackEnds) {
      for (size_t i = b.first; i <= b.last; ++i) {
        if (!ctx.has(i)) continue;
        if (asked != nullptr) {
          return epp::Status::Invalid("parameter \"" + std::string(kParams[by].spec.name) +
                                      "\" asks for " + asked->name + " and \"" +
                                      kParams[i].spec.name + "\" for " + b.name +
                                      ", want one of them: vllm, local or estimate");
        }
        asked = &b;
        by = i;
        break;
      }
    }
    return {};
  }

  // Loads the tokenizers of the config, if it names some.
  epp::Status LoadTokenizers(const epp::Context& ctx) {
    if (!ctx.has(kLocalTokenizers)) {
      for (size_t i = kLocalThreads; i <= kLocalTimeout; ++i) {
        if (!ctx.has(i)) continue;
        return epp::Status::Invalid(
            "parameter \"" + std::string(kParams[i].spec.name) +
            "\" asks for a local tokenizer, but local.tokenizers is not set");
      }
      return {};
    }
    const auto given = [&](size_t i, int64_t value, int64_t usual) {
      return ctx.has(i) && value > 0 ? value : usual;
    };
    const auto threads = static_cast<size_t>(given(kLocalThreads, ctx.i64(kLocalThreads), 2));
    local_timeout_ns_ =
        static_cast<uint64_t>(given(kLocalTimeout, ctx.ns(kLocalTimeout), 1'000'000'000));
    const std::string_view labels[] = {"plugin_name", "reason"};
    const epp::Metric estimates(
        ctx.host().raw(), EPP_METRIC_COUNTER, "epp_token_producer_estimates_total",
        "Prompts that were estimated although tokenizers are configured.", labels);
    for (size_t i = 0; i < kReasons.size(); ++i) {
      const std::string_view values[] = {ctx.name(), kReasons[i]};
      estimates_[i] = estimates.With(values);
    }
    return token_producer::Local::Create(ctx.host(), ctx.str(kLocalTokenizers), threads, local_);
  }

  // Thread-safe: each worker has its own scratch memory.
  epp::Status Produce(const epp::Call& call, const epp::Outputs& out) const {
    const epp_parsed* const parsed = call.request().parsed;
    if (parsed == nullptr) return out.ClearRequest(0), epp::Status();
    if (parsed->api == EPP_API_NONE || parsed->api == EPP_API_IMAGES) {
      return out.ClearRequest(0), epp::Status();  // no prompt that could be estimated
    }
    auto* const prompt = call.Alloc<epp_tokenized_prompt>();
    if (prompt == nullptr) return TooLarge(sizeof(*prompt));
    prompt->struct_size = sizeof(*prompt);
    prompt->cache_salt = Copied(call, epp::View(parsed->cache_salt));
    const std::span segments(parsed->segments, parsed->segment_count);
    const bool ids = !segments.empty() && segments[0].kind == EPP_SEGMENT_TOKEN_IDS;
    Scratch& scratch = (*scratch_)[call.worker() % scratch_->size()];
    epp::Status status = ids ? PassIds(call, segments, *prompt)
                             : Estimate(call, *parsed, segments, scratch, *prompt);
    scratch.canonical.Trim(Scratch::kKeepBytes);
    if (scratch.text.capacity() > Scratch::kKeepBytes) std::string().swap(scratch.text);
    if (!status.ok()) return status;
    Put(prompt, out);
    return {};
  }

  static void Put(const epp_tokenized_prompt* prompt, const epp::Outputs& out) {
    if (prompt->offsets[prompt->prompt_count] == 0) {
      out.ClearRequest(0);
    } else {
      out.Set<const void*>(0, prompt);
    }
  }

  // A server may say anything.
  static void DropOutside(epp_tokenized_prompt& prompt) {
    auto* const media = const_cast<epp_media*>(prompt.media);  // ours
    const uint64_t tokens = prompt.offsets[1];
    const auto end = std::remove_if(media, media + prompt.media_count, [&](const epp_media& m) {
      return m.offset > tokens || m.length > tokens - m.offset;
    });
    prompt.media_count = static_cast<uint32_t>(end - media);
  }

  // Takes the server of the config, if it names one.
  epp::Status Connect(const epp::Context& ctx) {
    const bool named = ctx.has(kVllmUrl) || ctx.has(kVllmTimeout) || ctx.has(kVllmMediaTimeout);
    if (!named && !ctx.has(kModelName)) return {};
    size_t asks = kModelName;
    while (!ctx.has(asks)) ++asks;
    const std::string asked =
        "parameter \"" + std::string(kParams[asks].spec.name) + "\" asks for vLLM, but ";
    token_producer::Remote::Settings settings;
    settings.model = ctx.str(kModelName);
    if (settings.model.empty()) {
      return epp::Status::Invalid(asked + "modelName is not set");
    }
    settings.url = ctx.has(kVllmUrl) ? ctx.str(kVllmUrl) : "";
    if (settings.url.empty()) settings.url = "http://localhost:8000";
    if (!settings.url.starts_with("http://") && !settings.url.starts_with("https://")) {
      return epp::Status::Invalid("vllm.url is \"" + settings.url + "\", want http:// or https://");
    }
    while (settings.url.ends_with('/')) settings.url.pop_back();
    const auto seconds = [&](size_t i, uint64_t usual) {
      return ctx.has(i) && ctx.ns(i) > 0 ? static_cast<uint64_t>(ctx.ns(i)) : usual * 1'000'000'000;
    };
    settings.timeout_ns = seconds(kVllmTimeout, 5);
    settings.media_timeout_ns = seconds(kVllmMediaTimeout, 30);
    auto remote = std::make_shared<const token_producer::Remote>(ctx.host(), std::move(settings));
    if (!remote->ok()) {
      return epp::Status(EPP_UNIMPLEMENTED, asked + "this host has no HTTP client");
    }
    remote->WarmUp();
    remote_ = std::move(remote);
    return {};
  }

  using Segments = std::span<const epp_segment>;

  explicit TokenProducer(uint32_t workers)
      : scratch_(std::make_unique<std::vector<Scratch>>(std::max(workers, 1u))) {}

  // ---- real ids ----

  static epp::Status PassIds(const epp::Call& call, Segments segments, epp_tokenized_prompt& out) {
    const std::string_view text = epp::View(segments[0].bytes);
    const auto most = static_cast<size_t>(std::count(text.begin(), text.end(), ',')) + 1;
    auto* const ids = static_cast<uint32_t*>(
        call.raw().alloc(call.raw().arena, most * sizeof(uint32_t), alignof(uint32_t)));
    auto* const offsets = call.Alloc<uint64_t>(2);
    if (ids == nullptr || offsets == nullptr) return TooLarge(most * sizeof(uint32_t));
    size_t count = 0;
    Cursor cursor(text);
    const bool ok = cursor.Array([&] {
      std::string_view number;
      return count < most && cursor.Number(number) && epp::json::ToTokenId(number, ids[count++]);
    });
    if (!ok) return epp::Status::Invalid("token ids are not an array of ids");
    offsets[1] = count;
    out.prompt_count = 1;
    out.tokens = ids;
    out.offsets = offsets;
    return segments.size() > 1 ? Features(call, epp::View(segments[1].bytes), out) : epp::Status();
  }

  // The "features" object of a generate request: hashes and ranges, paired by position.
  static epp::Status Features(const epp::Call& call, std::string_view text,
                              epp_tokenized_prompt& out) {
    constexpr std::array<std::pair<std::string_view, int32_t>, 3> kModalities{
        {{"image", EPP_MODALITY_IMAGE},
         {"audio", EPP_MODALITY_AUDIO},
         {"video", EPP_MODALITY_VIDEO}}};
    std::array<std::vector<RawString>, kModalities.size()> hashes;
    std::array<std::vector<epp_media>, kModalities.size()> ranges;
    Cursor in(text);
    // Calls element(list of the modality) for each element of each known modality.
    const auto each = [&](auto& lists, auto&& element) {
      return in.Object([&](const RawString& key) {
        size_t m = 0;
        while (m < kModalities.size() && !Equals(key, kModalities[m].first)) ++m;
        if (m == kModalities.size() || in.Peek() != '[') return in.Skip();
        lists[m].clear();
        return in.Array([&] { return element(lists[m], kModalities[m].second); });
      });
    };
    const auto hash = [&](std::vector<RawString>& list, int32_t) {
      return in.Peek() == '"' ? in.String(list.emplace_back()) : (list.emplace_back(), in.Skip());
    };
    const auto range = [&](std::vector<epp_media>& list, int32_t modality) {
      epp_media& media = list.emplace_back(epp_media{modality, 0, 0, 0, {nullptr, 0}});
      return in.Peek() != '{' ? in.Skip() : in.Object([&](const RawString& key) {
        const bool offset = Equals(key, "offset");
        std::string_view number;
        int64_t value = 0;
        if (!(offset || Equals(key, "length"))) return in.Skip();
        if (in.Peek() == 'n') return in.Skip();
        if (!in.Number(number)) return false;
        epp::json::ToInt(number, value);
        (offset ? media.offset : media.length) = static_cast<uint64_t>(std::max<int64_t>(value, 0));
        return true;
      });
    };
    const bool ok = in.Object([&](const RawString& key) {
      if (in.Peek() != '{') return in.Skip();
      if (Equals(key, "mm_hashes")) return each(hashes, hash);
      if (Equals(key, "mm_placeholders")) return each(ranges, range);
      return in.Skip();
    });
    if (!ok) return epp::Status::Invalid("features are not as vLLM writes them");
    size_t count = 0, n = 0;
    for (const auto& list : ranges) count += list.size();
    if (count == 0) return {};
    auto* const media = call.Alloc<epp_media>(count);
    if (media == nullptr) return TooLarge(count * sizeof(epp_media));
    for (size_t m = 0; m < ranges.size(); ++m) {
      for (size_t i = 0; i < ranges[m].size(); ++i) {
        media[n] = ranges[m][i];
        if (i < hashes[m].size()) {
          const RawString& h = hashes[m][i];
          media[n].hash =
              h.escaped ? Copied(call, epp::json::Unescaped(h.bytes)) : Copied(call, h.bytes);
        }
        ++n;
      }
    }
    std::stable_sort(media, media + count,
                     [](const epp_media& a, const epp_media& b) { return a.offset < b.offset; });
    out.media = media;
    out.media_count = static_cast<uint32_t>(count);
    return {};
  }

  // ---- estimated ids ----

  epp::Status Estimate(const epp::Call& call, const epp_parsed& parsed, Segments segments,
                       Scratch& scratch, epp_tokenized_prompt& out) const {
    const size_t head = CanonicalHead(parsed.api, segments, scratch.canonical);
    if (head == kNotJson) return epp::Status::Invalid("a part of the prompt is not JSON");
    const std::string_view json = scratch.canonical.text();
    segments = segments.subspan(head);

    // First what everything needs, so that one allocation holds it all.
    const auto media_count = static_cast<size_t>(
        std::count_if(segments.begin(), segments.end(),
                      [](const epp_segment& s) { return Modality(s.kind) != 0; }));
    auto* const assets = call.Alloc<Asset>(media_count);
    auto* const media = call.Alloc<epp_media>(media_count);
    if (assets == nullptr || media == nullptr) return TooLarge(media_count * sizeof(epp_media));
    uint64_t bytes = json.size();
    size_t k = 0;
    for (size_t i = 0; i < segments.size(); ++i) {
      if (Modality(segments[i].kind) != 0) {
        assets[k] = Measure(call, segments, i, scratch);
        bytes += 4 * static_cast<uint64_t>(assets[k++].tokens);
      } else {
        bytes += segments[i].bytes.size;
      }
    }
    // Each prompt and each asset may leave up to three bytes of the token before it unused.
    bytes += 4 * (uint64_t{parsed.prompt_count} + media_count + 1);
    void* const memory = call.raw().alloc(call.raw().arena, bytes, alignof(uint32_t));
    auto* const offsets = call.Alloc<uint64_t>(uint64_t{parsed.prompt_count} + 1);
    if (memory == nullptr || offsets == nullptr) return TooLarge(bytes);

    TokenStream stream(memory);
    stream.Text(json, false);
    k = 0;
    uint32_t prompt = 0;
    for (const epp_segment& s : segments) {
      while (prompt < s.prompt && prompt + 1 < parsed.prompt_count) {
        stream.Align();
        offsets[++prompt] = stream.size();
      }
      if (const int32_t modality = Modality(s.kind); modality != 0) {
        const Asset& a = assets[k];
        const uint64_t at = stream.Repeat(static_cast<uint32_t>(a.hash), a.tokens);
        media[k++] = {modality, prompt, at - offsets[prompt], static_cast<uint64_t>(a.tokens),
                      HashText(call, a.hash)};
      } else if (!(s.flags & EPP_SEGMENT_FORMAT)) {
        stream.Text(epp::View(s.bytes), s.flags & EPP_SEGMENT_ESCAPED);
      }
    }
    stream.Align();
    while (prompt < parsed.prompt_count) offsets[++prompt] = stream.size();
    out.prompt_count = parsed.prompt_count;
    out.tokens = static_cast<const uint32_t*>(memory);
    out.offsets = offsets;
    out.media = media_count ? media : nullptr;
    out.media_count = static_cast<uint32_t>(media_count);
    out.estimated = 1;
    return {};
  }

  // Encodes the JSON that opens the prompt and returns how many segments that was, or kNotJson.
  static constexpr size_t kNotJson = SIZE_MAX;
  static size_t CanonicalHead(int32_t api, Segments segments, epp::json::Canonical& to) {
    constexpr std::array<std::string_view, 3> kParts{
        "{\"instructions\":", "{\"tools\":", "{\"input\":"};
    const bool parts = api == EPP_API_RESPONSES;
    to.Clear();
    size_t n = 0;
    for (; n < segments.size() && segments[n].kind == EPP_SEGMENT_JSON; ++n) {
      if (parts) {
        to.AppendVerbatim(n == 0 ? "[" : ",");
        to.AppendVerbatim(kParts[std::min<size_t>(segments[n].message, 2)]);
      }
      if (!to.Append(epp::View(segments[n].bytes))) return kNotJson;
      if (parts) to.AppendVerbatim("}");
    }
    if (parts && n > 0) to.AppendVerbatim("]");
    return n;
  }

  // The identity and the weight of the media segment at i.
  Asset Measure(const epp::Call& call, Segments segments, size_t i, Scratch& scratch) const {
    const epp_segment& s = segments[i];
    if (s.kind == EPP_SEGMENT_AUDIO) {
      const bool format = i + 1 < segments.size() && (segments[i + 1].flags & EPP_SEGMENT_FORMAT);
      XXH64_state_t state;
      XXH64_reset(&state, 0);
      const std::string_view data = Plain(s, scratch);
      uint64_t size = data.size();
      XXH64_update(&state, data.data(), data.size());
      if (format) {
        const std::string_view name = Plain(segments[i + 1], scratch);
        size += name.size();
        XXH64_update(&state, name.data(), name.size());
      }
      return {XXH64_digest(&state), token_producer::AudioTokens(size)};
    }
    const std::string_view content = Plain(s, scratch);
    const uint64_t hash = XXH64(content.data(), content.size(), 0);
    if (s.kind == EPP_SEGMENT_VIDEO) {
      return {hash, token_producer::VideoTokens(video_, Hints(call))};
    }
    const bool raw = s.flags & EPP_SEGMENT_BASE64;
    return {hash, token_producer::ImageTokens(
                      image_, raw ? content : token_producer::DataUrlPayload(content))};
  }

  // The segment's text without escapes, in the body or in scratch.
  static std::string_view Plain(const epp_segment& s, Scratch& scratch) {
    const std::string_view bytes = epp::View(s.bytes);
    if (!(s.flags & EPP_SEGMENT_ESCAPED)) return bytes;
    scratch.text.resize(bytes.size());
    const char* const end = epp::json::Unescape(bytes, scratch.text.data());
    return {scratch.text.data(), static_cast<size_t>(end - scratch.text.data())};
  }

  static token_producer::VideoHints Hints(const epp::Call& call) {
    using token_producer::ParsePositive;
    return {ParsePositive(call.header("x-llm-d-video-duration-seconds").value_or("")),
            ParsePositive(call.header("x-llm-d-video-fps").value_or("")),
            token_producer::ParseResolution(call.header("x-llm-d-video-resolution").value_or(""))};
  }

  token_producer::ImageSettings image_;
  token_producer::VideoSettings video_;
  std::unique_ptr<std::vector<Scratch>> scratch_;
  std::shared_ptr<const token_producer::Remote> remote_;  // of these two at most one
  std::unique_ptr<token_producer::Local> local_;
  uint64_t local_timeout_ns_ = 0;
  std::array<epp::Series, kReasons.size()> estimates_;
};

}  // namespace

EPP_LIBRARY("token-producer", "0.1.0", TokenProducer)
