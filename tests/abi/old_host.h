// A host of an older minor ABI, around a plugin type of today.
//
// OldHost wraps a type record in another that behaves the same, except that every struct the plugin
// is given is a copy of its old size, struct_size included, in front of a page that cannot be read;
// what the old host did not know is hidden: interfaces of the plugin, extensions of the host. So a
// plugin that reads a younger field without asking EPP_HAS dies, and one that needs it fails.
//
// Shows filters, scorers, pickers, producers, request hooks, sources, scrapers, pool events and
// attributes; the other interfaces get nothing that can be cut, and are not shown.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <regex>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "epp/testing.hpp"

namespace epp::abi {

// Sizes and ids of a layout snapshot (sdk/compat/1.N/layout.x86_64.txt).
class OldAbi {
 public:
  explicit OldAbi(const std::string& path) {
    std::ifstream in(path);
    const std::regex record("record struct (\\w+) size (\\d+) align \\d+");
    const std::regex id("id \\w+ \"([^\"]+)\"");
    const std::regex version("const EPP_ABI_MINOR (\\d+)u");
    std::smatch match;
    for (std::string line; std::getline(in, line);) {
      if (std::regex_match(line, match, record)) sizes_[match[1]] = std::stoul(match[2]);
      if (std::regex_match(line, match, id)) ids_.insert(match[1]);
      if (std::regex_match(line, match, version)) {
        minor = static_cast<uint32_t>(std::stoul(match[1]));
      }
    }
    if (sizes_.empty()) throw std::runtime_error(path + " is no layout snapshot");
  }
  size_t size(const char* record) const { return sizes_.at(record); }
  bool knows(const char* id) const { return ids_.count(id) != 0; }
  uint32_t minor = 0;

 private:
  std::map<std::string, size_t> sizes_;
  std::set<std::string> ids_;
};

// A copy of the first `size` bytes of a struct, right in front of a page without rights.
template <class T>
class Cut {
 public:
  Cut(const T* from, size_t size) : from_(from), size_(size) {
    if (from == nullptr) return;
    const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
    room_ = (size + page - 1) / page * page;
    base_ = static_cast<char*>(
        mmap(nullptr, room_ + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (base_ == MAP_FAILED || mprotect(base_ + room_, page, PROT_NONE) != 0) {
      throw std::bad_alloc();
    }
    guard_ = page;
    std::memcpy(base_ + room_ - size, from, std::min(size, sizeof(T)));
    const auto old_size = static_cast<uint32_t>(size);
    std::memcpy(base_ + room_ - size, &old_size, sizeof(old_size));  // struct_size comes first
  }
  Cut(const Cut&) = delete;
  Cut& operator=(const Cut&) = delete;
  ~Cut() {
    if (base_) munmap(base_, room_ + guard_);
  }
  // Not to be dereferenced by us beyond the old size.
  T* get() const { return base_ ? reinterpret_cast<T*>(base_ + room_ - size_) : nullptr; }
  // What the plugin wrote, into the struct that was cut.
  void CopyBack() {
    if (base_ == nullptr) return;
    auto* to = reinterpret_cast<char*>(const_cast<T*>(from_));
    std::memcpy(to + sizeof(uint32_t), base_ + room_ - size_ + sizeof(uint32_t),
                std::min(size_, sizeof(T)) - sizeof(uint32_t));
  }

 private:
  const T* from_;
  size_t size_;
  size_t room_ = 0;
  size_t guard_ = 0;
  char* base_ = nullptr;
};

// What a call gets, cut as deep as pointers lead.
class CutCall {
 public:
  CutCall(const OldAbi& abi, const epp_call* call, const epp_candidates* in, epp_error* err)
      : parsed_(call->request ? call->request->parsed : nullptr, abi.size("epp_parsed")),
        request_(call->request, abi.size("epp_request")),
        call_(call, abi.size("epp_call")),
        in_(in, abi.size("epp_candidates")),
        err_(err, abi.size("epp_error")) {
    if (request_.get()) request_.get()->parsed = parsed_.get();
    call_.get()->request = request_.get();
    if (in == nullptr) return;
    for (uint32_t i = 0; i < in->count; ++i) {
      endpoints_.push_back(
          std::make_unique<Cut<epp_endpoint>>(in->endpoints[i], abi.size("epp_endpoint")));
      pointers_.push_back(endpoints_.back()->get());
    }
    in_.get()->endpoints = pointers_.data();
  }
  ~CutCall() { err_.CopyBack(); }
  const epp_call* call() const { return call_.get(); }
  const epp_candidates* in() const { return in_.get(); }
  epp_error* err() const { return err_.get(); }

 private:
  Cut<epp_parsed> parsed_;
  Cut<epp_request> request_;
  Cut<epp_call> call_;
  Cut<epp_candidates> in_;
  Cut<epp_error> err_;
  std::vector<std::unique_ptr<Cut<epp_endpoint>>> endpoints_;
  std::vector<const epp_endpoint*> pointers_;
};

// The wrapping record. Not movable; outlives its instances. One at a time (create has no self).
class OldHost {
 public:
  OldHost(const epp_plugin_type& type, const OldAbi& abi) : inner_(type), type_(type), abi_(abi) {
    current_ = this;
    type_.create = &Create;
    type_.destroy = &Destroy;
    type_.get_interface = &GetInterface;
  }
  OldHost(const OldHost&) = delete;
  OldHost& operator=(const OldHost&) = delete;
  const epp_plugin_type& type() const { return type_; }

 private:
  // An instance, and the tables it showed.
  struct Self {
    const OldAbi& abi;
    const epp_plugin_type& type;
    Cut<epp_host> host;
    void* self = nullptr;
    epp_filter filter{};
    epp_scorer scorer{};
    epp_picker picker{};
    epp_producer producer{};
    epp_pre_request pre_request{};
    epp_response response{};
    epp_source source{};
    epp_scraper scraper{};
    epp_pool_events pool_events{};
    epp_attributes attributes{};

    template <class Table>
    const Table& Own(const char* id) const {
      return *static_cast<const Table*>(type.get_interface(self, id));
    }
  };
  static Self& Of(void* self) { return *static_cast<Self*>(self); }

  static void* Create(const epp_host* host, epp_str name, const epp_value* values,
                      epp_error* err) noexcept {
    const OldAbi& abi = current_->abi_;
    auto made = std::unique_ptr<Self>(
        new Self{abi, current_->inner_, Cut<epp_host>(host, abi.size("epp_host"))});
    made->host.get()->abi_minor = abi.minor;
    made->host.get()->get_extension = [](void*, const char*) noexcept -> const void* {
      return nullptr;
    };
    Cut<epp_error> cut_err(err, abi.size("epp_error"));
    made->self = made->type.create(made->host.get(), name, values, cut_err.get());
    cut_err.CopyBack();
    return made->self ? made.release() : nullptr;
  }
  static void Destroy(void* self) noexcept {
    const std::unique_ptr<Self> owned(&Of(self));
    owned->type.destroy(owned->self);
  }

  static epp_status Filter(void* self, const epp_call* call, const epp_candidates* in,
                           uint64_t* keep, epp_error* err) noexcept {
    const CutCall cut(Of(self).abi, call, in, err);
    return Of(self)
        .Own<epp_filter>(EPP_FILTER_ID)
        .filter(Of(self).self, cut.call(), cut.in(), keep, cut.err());
  }
  static epp_status Score(void* self, const epp_call* call, const epp_candidates* in, double* out,
                          epp_error* err) noexcept {
    const CutCall cut(Of(self).abi, call, in, err);
    return Of(self)
        .Own<epp_scorer>(EPP_SCORER_ID)
        .score(Of(self).self, cut.call(), cut.in(), out, cut.err());
  }
  static epp_status Pick(void* self, const epp_call* call, const epp_candidates* in,
                         const double* totals, uint32_t* picks, uint32_t* count,
                         epp_error* err) noexcept {
    const CutCall cut(Of(self).abi, call, in, err);
    return Of(self)
        .Own<epp_picker>(EPP_PICKER_ID)
        .pick(Of(self).self, cut.call(), cut.in(), totals, picks, count, cut.err());
  }
  static epp_status Produce(void* self, const epp_call* call, const epp_candidates* in,
                            const epp_outputs* out, epp_error* err) noexcept {
    const CutCall cut(Of(self).abi, call, in, err);
    const Cut<epp_outputs> outputs(out, Of(self).abi.size("epp_outputs"));
    return Of(self)
        .Own<epp_producer>(EPP_PRODUCER_ID)
        .produce(Of(self).self, cut.call(), cut.in(), outputs.get(), cut.err());
  }
  static epp_status PreRequest(void* self, const epp_call* call, const epp_scheduling* scheduling,
                               const epp_candidates* in, const epp_editor* edit,
                               epp_error* err) noexcept {
    const OldAbi& abi = Of(self).abi;
    const CutCall cut(abi, call, in, err);
    const Cut<epp_editor> editor(edit, abi.size("epp_editor"));
    const Cut<epp_scheduling> outcome(scheduling, abi.size("epp_scheduling"));
    std::vector<std::unique_ptr<Cut<epp_profile_result>>> results;
    std::vector<const epp_profile_result*> pointers;
    for (uint32_t i = 0; i < scheduling->profile_count; ++i) {
      results.push_back(std::make_unique<Cut<epp_profile_result>>(scheduling->results[i],
                                                                  abi.size("epp_profile_result")));
      pointers.push_back(results.back()->get());
    }
    outcome.get()->results = pointers.data();
    return Of(self)
        .Own<epp_pre_request>(EPP_PRE_REQUEST_ID)
        .pre_request(Of(self).self, cut.call(), outcome.get(), cut.in(), editor.get(), cut.err());
  }
  template <auto Member>
  static epp_status OnResponse(void* self, const epp_call* call, const epp_response_event* event,
                               const epp_editor* edit, epp_error* err) noexcept {
    const OldAbi& abi = Of(self).abi;
    const CutCall cut(abi, call, nullptr, err);
    const Cut<epp_editor> editor(edit, abi.size("epp_editor"));
    const Cut<epp_response_event> seen(event, abi.size("epp_response_event"));
    const Cut<epp_usage> usage(event->usage, abi.size("epp_usage"));
    const Cut<epp_endpoint> served(event->served, abi.size("epp_endpoint"));
    seen.get()->usage = usage.get();
    seen.get()->served = served.get();
    return (Of(self).Own<epp_response>(EPP_RESPONSE_ID).*Member)(
        Of(self).self, cut.call(), seen.get(), editor.get(), cut.err());
  }
  static epp_status Plan(void* self, epp_fetch_plan* out, epp_error* err) noexcept {
    Cut<epp_fetch_plan> plan(out, Of(self).abi.size("epp_fetch_plan"));
    const epp_status status =
        Of(self).Own<epp_source>(EPP_SOURCE_ID).plan(Of(self).self, plan.get(), err);
    plan.CopyBack();
    return status;
  }
  static epp_status Scrape(void* self, const epp_scrape* in, const epp_sink* out,
                           epp_error* err) noexcept {
    const OldAbi& abi = Of(self).abi;
    const Cut<epp_scrape> page(in, abi.size("epp_scrape"));
    const Cut<epp_endpoint> endpoint(in->endpoint, abi.size("epp_endpoint"));
    const Cut<epp_sink> sink(out, abi.size("epp_sink"));
    page.get()->endpoint = endpoint.get();
    return Of(self)
        .Own<epp_scraper>(EPP_SCRAPER_ID)
        .scrape(Of(self).self, page.get(), sink.get(), err);
  }
  static const epp_attr_spec* const* Consumes(void* self, uint32_t* count) noexcept {
    return Of(self).Own<epp_attributes>(EPP_ATTRIBUTES_ID).consumes(Of(self).self, count);
  }
  static const epp_attr_spec* const* Produces(void* self, uint32_t* count) noexcept {
    return Of(self).Own<epp_attributes>(EPP_ATTRIBUTES_ID).produces(Of(self).self, count);
  }
  template <auto Member>
  static void OnEndpoint(void* self, const epp_endpoint* endpoint) noexcept {
    const Cut<epp_endpoint> cut(endpoint, Of(self).abi.size("epp_endpoint"));
    (Of(self).Own<epp_pool_events>(EPP_POOL_EVENTS_ID).*Member)(Of(self).self, cut.get());
  }
  static const void* GetInterface(void* self, const char* id) noexcept {
    Self& own = Of(self);
    const std::string_view asked = id;
    const void* table = own.abi.knows(id) ? own.type.get_interface(own.self, id) : nullptr;
    if (table == nullptr) return nullptr;
    const auto show = [&](auto& mine, auto member, auto function) -> const void* {
      mine = *static_cast<const std::remove_reference_t<decltype(mine)>*>(table);
      mine.*member = function;
      return &mine;
    };
    if (asked == EPP_FILTER_ID) return show(own.filter, &epp_filter::filter, &Filter);
    if (asked == EPP_SCORER_ID) return show(own.scorer, &epp_scorer::score, &Score);
    if (asked == EPP_PICKER_ID) return show(own.picker, &epp_picker::pick, &Pick);
    if (asked == EPP_PRODUCER_ID) return show(own.producer, &epp_producer::produce, &Produce);
    if (asked == EPP_PRE_REQUEST_ID) {
      return show(own.pre_request, &epp_pre_request::pre_request, &PreRequest);
    }
    if (asked == EPP_RESPONSE_ID) {
      show(own.response, &epp_response::on_headers, &OnResponse<&epp_response::on_headers>);
      own.response.on_body = &OnResponse<&epp_response::on_body>;
      return &own.response;
    }
    if (asked == EPP_SOURCE_ID) return show(own.source, &epp_source::plan, &Plan);
    if (asked == EPP_SCRAPER_ID) return show(own.scraper, &epp_scraper::scrape, &Scrape);
    if (asked == EPP_POOL_EVENTS_ID) {
      show(own.pool_events, &epp_pool_events::upserted, &OnEndpoint<&epp_pool_events::upserted>);
      own.pool_events.removed = &OnEndpoint<&epp_pool_events::removed>;
      return &own.pool_events;
    }
    if (asked == EPP_ATTRIBUTES_ID) {
      show(own.attributes, &epp_attributes::consumes, &Consumes);
      own.attributes.produces = &Produces;
      return &own.attributes;
    }
    return nullptr;
  }

  static inline OldHost* current_ = nullptr;
  const epp_plugin_type& inner_;
  epp_plugin_type type_;
  const OldAbi& abi_;
};

}  // namespace epp::abi
