// A small JSON object of a tokenizer.json, as views into its text, and errors that name the key.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "epp/plugin.hpp"

namespace token_producer {

class Fields {
 public:
  // where: the object's name in errors, such as "pre_tokenizer". An object, or null: no members.
  static epp::Status Read(std::string_view json, std::string where, Fields& out);
  // The elements of an array; null is empty.
  static epp::Status ReadArray(std::string_view json, const std::string& where,
                               std::vector<std::string_view>& out);
  // One value.
  static bool ReadString(std::string_view json, std::string& out);
  static bool ReadId(std::string_view json, uint32_t& out);

  const std::string& where() const { return where_; }
  // The last member of that name; empty when there is none or it is null.
  std::string_view Raw(std::string_view key) const;

  // An absent member leaves the value as it is; a wrong one is remembered for status().
  void Get(std::string_view key, bool& out);
  void Get(std::string_view key, std::string& out);
  void Get(std::string_view key, uint32_t& out);
  const epp::Status& status() const { return status_; }
  epp::Status TakeStatus() { return std::move(status_); }

  // An error when there is a member of another name.
  epp::Status Only(std::initializer_list<std::string_view> keys) const;

  // What this object cannot be: "WHERE.KEY is GOT, want WANT".
  epp::Status Wrong(std::string_view key, std::string_view want) const;

 private:
  void Note(std::string_view key, std::string_view want);

  std::string where_;
  std::vector<std::pair<std::string, std::string_view>> members_;
  epp::Status status_;
};

}  // namespace token_producer
