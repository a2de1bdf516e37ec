// What a render endpoint is asked: the client's body with another model, or a chat made of
// Anthropic messages. Bodies are untrusted; what is copied is checked to be JSON on the way.
#pragma once

#include <string>
#include <string_view>

#include "epp/plugin.hpp"

namespace token_producer {

// `text` as a JSON string, quotes included.
std::string Quoted(std::string_view text);

// The body with `quoted_model` in place of its model, or as its first member when it has none.
std::string WithModel(std::string_view body, const epp_parsed& parsed,
                      std::string_view quoted_model);

// Does some message have a list that is not empty as its content?
bool HasListContent(std::string_view body);

// A chat with the system text, messages and tools of an Anthropic body.
epp::Status ChatFromMessages(std::string_view body, std::string_view quoted_model,
                             std::string& out);

// A JSON value as Python's json.dumps writes it; nothing, null and {} become {}. False: no JSON, or
// nested too deeply.
bool AppendPythonJson(std::string_view json, std::string& out);

}  // namespace token_producer
