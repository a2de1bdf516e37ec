#include "host/validate/findings.h"

#include <algorithm>
#include <cstring>
#include <exception>

#include "host/base/str_cat.h"
#include "host/base/utf8.h"

namespace epp::validate {
namespace {

thread_local bool recorded = false;

void Put(char* to, size_t room, std::string_view text) {
  const size_t n = std::min(text.size(), room - 1);
  std::memcpy(to, text.data(), n);
  to[n] = '\0';
}

}  // namespace

void Findings::Line(char kind, std::string_view text, std::string_view key) {
  std::string line(1, kind);
  line += utf8::Sanitise(text);
  std::replace(line.begin(), line.end(), '\n', ' ');
  const std::lock_guard lock(mutex_);
  if (seen_.size() >= kMax ||
      !seen_.insert(StrCat(kind == 'F' ? "F" : "", key.empty() ? line : key)).second) {
    return;
  }
  line += '\n';
  if (board_->size + line.size() > sizeof(board_->text)) return;
  std::memcpy(board_->text + board_->size, line.data(), line.size());
  board_->size += static_cast<uint32_t>(line.size());
}

void Findings::Breach(int number, std::string_view text, std::string_view key) {
  if (number == number_) Line('F', text, key);
}
void Findings::Skip(std::string_view why, bool refused) { Line(refused ? 'R' : 'S', why); }
void Findings::Tested() { Line('T', ""); }
void Findings::Note(std::string_view text) { Line('N', text); }

Doing::Doing(Findings& findings, std::string_view function, std::string_view of)
    : board_(recorded ? &findings.board() : nullptr) {
  if (board_ == nullptr) return;
  char* at = board_->doing;
  const size_t room = sizeof(board_->doing);
  Put(at, room / 2, function);
  if (of.empty()) return;
  const size_t used = std::strlen(at);
  Put(at + used, room - used, " of ");
  Put(at + used + 4, room - used - 4, of);
}
Doing::~Doing() {
  if (board_ != nullptr) board_->doing[0] = '\0';
}
void Doing::RecordThisThread() { recorded = true; }

void ReportException(Findings& findings, std::string_view function, std::string_view of) {
  std::string what = "something that is no std::exception";
  try {
    throw;
  } catch (const std::exception& e) {
    what = StrCat("\"", e.what(), "\"");
  } catch (...) {
  }
  findings.FailAnywhere(
      StrCat("an exception left ", function, of.empty() ? "" : " of ", of, ": ", what));
}

}  // namespace epp::validate
