// Texts of failures.
#include "unpack/failure.h"

#include <errno.h>
#include <string.h>

namespace pvecri {

Failure SystemFailure(std::string_view what) { return SystemFailure(what, errno); }

Failure SystemFailure(std::string_view what, int error) {
  return {Cause::kSystem, error, std::string(what) + ": " + ::strerror(error)};
}

std::string Quote(std::string_view name) {
  static constexpr char kHex[] = "0123456789abcdef";
  // An archive may hold names of a megabyte; a message is for people.
  static constexpr size_t kShown = 200;
  std::string text = "\"";
  for (unsigned char byte : name.substr(0, kShown)) {
    if (byte < 0x20 || byte == 0x7f || byte == '"' || byte == '\\') {
      text += "\\x";
      text += kHex[byte >> 4];
      text += kHex[byte & 15];
    } else {
      text += static_cast<char>(byte);
    }
  }
  text += name.size() > kShown ? "…\"" : "\"";
  return text;
}

}  // namespace pvecri
