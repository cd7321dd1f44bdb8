// Checked conversion of JavaScript arguments; whatever does not fit throws a TypeError.
#pragma once

#include <napi.h>

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace pvecri {

int64_t ToInteger(const Napi::Value& value, const char* name, int64_t min, int64_t max);
// A descriptor number; whether it is open is for the kernel to say.
int ToFd(const Napi::Value& value, const char* name);
// Text without NUL, which every system call would cut short in silence.
std::string ToText(const Napi::Value& value, const char* name);
// An absolute path.
std::string ToPath(const Napi::Value& value, const char* name);
std::vector<std::string> ToTexts(const Napi::Value& value, const char* name);
// Valid until JavaScript runs again.
std::span<const uint8_t> ToBytes(const Napi::Value& value, const char* name);
Napi::Function ToFunction(const Napi::Value& value, const char* name);
Napi::Object ToObject(const Napi::Value& value, const char* name);
bool ToBoolean(const Napi::Value& value, const char* name);
// True for a member that is neither absent nor undefined.
bool Has(const Napi::Object& object, const char* name);

}  // namespace pvecri
