// Loads libraries of different toolchains into one process and compares what they score.
//
//   matrix_host [--throws FILE.so...] [--silent FILE.so...]
//
// Each is a build of the scorer of this folder. All give the same bits for the same input; those
// that can throw do so in create, score and destroy, and what is thrown stays inside. Prints a line
// a fault, exits with 1 when there is one.
#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "epp/testing.hpp"

namespace {

using epp::test::Host;
using epp::test::Instance;
using epp::test::Library;
using epp::test::Pool;

int faults = 0;

void Fault(const std::string& library, const std::string& what) {
  ++faults;
  std::printf("%s: %s\n", library.c_str(), what.c_str());
}

struct Subject {
  std::string path;
  bool throws = false;
  std::unique_ptr<Library> library = nullptr;
  const char* type() const { return library->module().types[0]->name; }
};

Pool MakePool(size_t n, Host& host) {
  Pool pool(n);
  std::vector<epp::test::Cell> waiting, usage;
  for (size_t i = 0; i < n; ++i) {
    waiting.emplace_back(static_cast<int64_t>(host.raw()->random_u64(host.raw()->ctx) % 1000));
    usage.emplace_back(epp::Host(host.raw()).random_unit());
  }
  pool.Set(epp::attr::kWaitingQueueSize, waiting).Set(epp::attr::kKvCacheUsage, usage);
  return pool;
}

void CompareScores(const std::vector<Subject>& subjects) {
  Host host;
  for (const size_t n : {0, 1, 2, 63, 64, 65, 1000}) {
    const Pool pool = MakePool(n, host);
    std::vector<double> want;
    for (const Subject& subject : subjects) {
      Instance scorer = subject.library->Make(subject.type());
      const std::vector<double> got = scorer.Score(pool);
      if (scorer.status() != EPP_OK) Fault(subject.path, scorer.error());
      if (&subject == &subjects[0]) want = got;
      const auto bits = [](double score) { return std::bit_cast<uint64_t>(score); };
      if (!std::ranges::equal(got, want, {}, bits, bits)) {
        Fault(subject.path,
              "scores of " + std::to_string(n) + " endpoints differ from " + subjects[0].path);
      }
    }
  }
}

// Every library at once, on threads: what one throws is no business of the others.
void CheckThrows(const Subject& subject) {
  const Pool pool(3);
  for (const std::string kind : {"", "-int"}) {
    const auto check = [&](const char* where, epp_status status, const std::string& error) {
      const bool text_kept =
          kind.empty() ? error == std::string("thrown by ") + where : !error.empty();
      if (status != EPP_INTERNAL || !text_kept) {
        Fault(subject.path,
              std::string(where) + kind + ": got " + std::to_string(status) + " \"" + error + "\"");
      }
    };
    const Instance created = subject.library->Make(subject.type(), {{"fail", "create" + kind}});
    check("create", created.status(), created.error());
    Instance scored = subject.library->Make(subject.type(), {{"fail", "score" + kind}});
    scored.Score(pool);
    check("score", scored.status(), scored.error());
    // Survived, that is all.
    Instance destroyed = subject.library->Make(subject.type(), {{"fail", "destroy" + kind}});
    destroyed.Score(pool);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<Subject> subjects;
  bool throws = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--throws") == 0 || std::strcmp(argv[i], "--silent") == 0) {
      throws = argv[i][2] == 't';
      continue;
    }
    subjects.push_back({argv[i], throws, std::make_unique<Library>(argv[i])});
    if (!subjects.back().library->ok()) {
      Fault(argv[i], subjects.back().library->error());
      return 1;
    }
  }
  if (subjects.empty()) {
    std::fputs("usage: matrix_host [--throws FILE.so...] [--silent FILE.so...]\n", stderr);
    return 2;
  }
  CompareScores(subjects);
  std::vector<std::thread> threads;
  for (const Subject& subject : subjects) {
    if (subject.throws) threads.emplace_back([&] { CheckThrows(subject); });
  }
  for (std::thread& thread : threads) thread.join();
  std::printf("%zu libraries, %d faults\n", subjects.size(), faults);
  return faults ? 1 : 0;
}
