// Records of libraries at the edge of what can be read: the host believes no size and no pointer.
#include <sys/mman.h>

#include <cstring>
#include <random>
#include <string_view>
#include <vector>

#include "gtest/gtest.h"
#include "host/loader/record_lint.h"

namespace epp::loader {
namespace {

constexpr size_t kPage = 4096;

// One readable page, and behind it one that nobody may touch. What is placed here is the "library".
class Edge {
 public:
  Edge()
      : memory_(static_cast<char*>(
            mmap(nullptr, 2 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    mprotect(memory_ + kPage, kPage, PROT_NONE);
  }
  ~Edge() { munmap(memory_, 2 * kPage); }
  Edge(const Edge&) = delete;
  Edge& operator=(const Edge&) = delete;

  char* page() const { return memory_; }
  Image image() const {
    const std::vector<ElfSegment> segments = {
        {0, kPage, 0, kPage, true, true, false},
        // Addresses only: nothing is called.
        {2 * kPage, kPage, 0, kPage, true, false, true},
    };
    return Image(reinterpret_cast<uint64_t>(memory_), segments);
  }
  template <class T>
  T* Place(const T& value) {
    used_ = (used_ + 15) & ~size_t{15};
    auto* at = reinterpret_cast<T*>(memory_ + used_);
    std::memcpy(static_cast<void*>(at), &value, sizeof(T));
    used_ += sizeof(T);
    return at;
  }
  const char* Text(std::string_view text) {
    char* at = memory_ + used_;
    std::memcpy(at, text.data(), text.size());
    at[text.size()] = '\0';
    used_ += text.size() + 1;
    return at;
  }
  template <class Function>
  Function Code() const {
    return reinterpret_cast<Function>(memory_ + 2 * kPage + 64);
  }

  // A record that is right in every way.
  epp_module* Build() {
    epp_plugin_type type{};
    type.struct_size = sizeof(type);
    type.stability = EPP_STABILITY_BETA;
    type.name = Text("good");
    type.doc = Text("For tests.");
    type.create = Code<decltype(type.create)>();
    type.destroy = Code<decltype(type.destroy)>();
    type.get_interface = Code<decltype(type.get_interface)>();
    type.interfaces = Place<const char*>(Text(EPP_SCORER_ID));
    type.interface_count = 1;
    epp_param_spec param{};
    param.struct_size = sizeof(param);
    param.type = EPP_P_I64;
    param.name = Text("number");
    param.doc = Text("A number.");
    param.max = 10;
    param.default_value = {EPP_P_I64, 1, {.i64 = 1}};
    type.params = Place<const epp_param_spec*>(Place(param));
    type.param_count = 1;
    type_ = Place(type);
    epp_module module{};
    module.struct_size = sizeof(module);
    module.abi_major = note.abi_major;
    module.abi_minor = note.abi_minor;
    module.abi_min_minor = note.abi_min_minor;
    module.type_count = 1;
    module.name = type.name;
    module.version = Text("1.0.0");
    module.toolchain = Text("none");
    types_ = Place<const epp_plugin_type*>(type_);
    module.types = types_;
    return Place(module);
  }
  const epp_plugin_type** types() const { return types_; }
  const epp_plugin_type* type() const { return type_; }

  epp_abi_note note{4, 16, 1, {'E', 'P', 'P', 0}, EPP_ABI_MAJOR, EPP_ABI_MINOR, 0, 0};

 private:
  char* memory_;
  size_t used_ = 64;
  const epp_plugin_type* type_ = nullptr;
  const epp_plugin_type** types_ = nullptr;
};

TEST(RecordEdgeTest, AGoodRecordPasses) {
  Edge edge;
  const epp_module* module = edge.Build();
  const absl::Status status = LintRecord(module, edge.image(), edge.note, "good");
  EXPECT_TRUE(status.ok()) << status;
}

// The struct's first `there` bytes end the page; its size says `said`.
template <class T>
T* CutOff(const Edge& edge, const T& whole, size_t there, uint32_t said) {
  char* at = edge.page() + kPage - there;
  std::memcpy(at, &whole, there);
  if (there >= sizeof(said)) std::memcpy(at, &said, sizeof(said));
  return reinterpret_cast<T*>(at);
}

TEST(RecordEdgeTest, TruncatedModules) {
  for (size_t there = 0; there < sizeof(epp_module); there += 8) {
    for (const uint32_t said :
         {static_cast<uint32_t>(there), uint32_t{sizeof(epp_module)}, UINT32_MAX, uint32_t{0}}) {
      Edge edge;
      const epp_module whole = *edge.Build();
      const epp_module* cut = CutOff(edge, whole, there, said);
      EXPECT_FALSE(LintRecord(cut, edge.image(), edge.note, "good").ok()) << there << " " << said;
    }
  }
}

TEST(RecordEdgeTest, TruncatedTypes) {
  for (size_t there = 0; there < sizeof(epp_plugin_type); there += 8) {
    for (const uint32_t said : {static_cast<uint32_t>(there), uint32_t{sizeof(epp_plugin_type)},
                                UINT32_MAX, uint32_t{0}}) {
      Edge edge;
      const epp_module* module = edge.Build();
      *edge.types() = CutOff(edge, *edge.type(), there, said);
      EXPECT_FALSE(LintRecord(module, edge.image(), edge.note, "good").ok())
          << there << " " << said;
    }
  }
}

TEST(RecordEdgeTest, DamagedRecordsAreRefusedOrHarmless) {
  std::minstd_rand random(7);
  for (int i = 0; i < 20000; ++i) {
    Edge edge;
    const epp_module* module = edge.Build();
    const Image image = edge.image();
    for (int k = 0; k < 3; ++k) {
      // Small numbers, addresses near the edge, and anything.
      const uint64_t values[] = {random() % 300,
                                 reinterpret_cast<uint64_t>(edge.page()) + kPage - random() % 300,
                                 uint64_t{random()} * random()};
      const size_t at = 64 + 4 * (random() % ((kPage - 72) / 4));
      std::memcpy(edge.page() + at, &values[random() % 3], 8);
    }
    (void)LintRecord(module, image, edge.note, "good");
  }
}

}  // namespace
}  // namespace epp::loader
